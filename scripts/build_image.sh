#!/usr/bin/env bash
# Builds the image of the last commit, and tags it with that commit.
#
# usage: scripts/build_image.sh REGISTRY/NAME [cpu|gpu]
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
    echo "build_image: $*" >&2
    exit 2
}

name=${1:-} target=${2:-cpu}
[ -n "$name" ] || stop "name the image: make image IMAGE=REGISTRY/bert"
[[ "${name##*/}" != *[:@]* ]] || stop "the tag is the commit; leave it out of '$name'"
case "$target" in cpu | gpu) ;; *) stop "TARGET: legal are cpu and gpu; received '$target'" ;; esac
command -v docker >/dev/null || stop "needs docker, or podman under that name"
git diff --quiet HEAD -- || stop "there are changes that are not committed; the tag names a commit"

commit=$(git rev-parse --short=12 HEAD)
tag=$commit
[ "$target" = cpu ] || tag=$commit-$target
# From the commit, not from the folder: what is not committed is not in the image.
git archive HEAD | docker build --target "$target" --build-arg "COMMIT=$(git rev-parse HEAD)" \
    --tag "$name:$tag" -
echo "$name:$tag"
echo "next: docker push $name:$tag, then --set image.name=$name:$tag"
