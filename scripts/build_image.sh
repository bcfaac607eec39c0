#!/usr/bin/env bash
# Build the image of the last commit and tag it with that commit.
#
# usage: scripts/build_image.sh REGISTRY/NAME [cpu|gpu]
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
    echo "build_image: $*" >&2
    exit 2
}

name=${1:-} target=${2:-cpu}
[ -n "$name" ] || stop "no image name; run make image IMAGE=REGISTRY/bert"
[[ "${name##*/}" != *[:@]* ]] || stop "the tag is always the commit; remove it from '$name'"
case "$target" in cpu | gpu) ;; *) stop "TARGET: must be cpu or gpu; received '$target'" ;; esac
command -v docker >/dev/null || stop "docker is not installed; install docker, or podman under that name"
git diff --quiet HEAD -- || stop "there are uncommitted changes, but the tag names a commit; commit them first"

commit=$(git rev-parse --short=12 HEAD)
tag=$commit
[ "$target" = cpu ] || tag=$commit-$target
# Built from the commit rather than the folder, so that the image contains only committed files.
git archive HEAD | docker build --target "$target" --build-arg "COMMIT=$(git rev-parse HEAD)" \
    --tag "$name:$tag" -
echo "$name:$tag"
echo "next: docker push $name:$tag, then --set image.name=$name:$tag"
