#!/usr/bin/env bash
# The steps that build the image, for the Dockerfile and for scripts/debian13_lane.sh, which runs
# them without a container engine.
#
# usage: scripts/image_steps.sh packages build|runtime     prints the Debian packages
#        scripts/image_steps.sh install build|runtime      installs them
#        scripts/image_steps.sh environment [GROUP]...     creates .venv; groups as in make_env.sh
#        scripts/image_steps.sh user                       creates the account that runs the nodes
set -euo pipefail
cd "$(dirname "$0")/.."

RUNTIME=(ca-certificates python3)
# pyfarmhash is built from source.
BUILD=("${RUNTIME[@]}" g++ git make python3-dev python3-pip python3-venv)
export PATH=$PATH:/usr/sbin:/sbin
# Kubernetes needs a numeric ID to check "runAsNonRoot".
ID=10001
# Mount points of object stores. Kubeflow's launcher writes to them with the same account.
MOUNTS=(/gcs /s3 /minio)

packages() {
    case "${1:-}" in
    build) echo "${BUILD[@]}" ;;
    runtime) echo "${RUNTIME[@]}" ;;
    *)
        echo "image_steps: packages: must be build or runtime; received '${1:-}'" >&2
        exit 2
        ;;
    esac
}

step_packages() { packages "$@"; }

step_install() {
    local names
    names=$(packages "$@")
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # several words
    apt-get install -y -qq --no-install-recommends $names >/dev/null
    rm -rf /var/lib/apt/lists/*
}

step_environment() { scripts/make_env.sh "$@"; }

step_user() {
    getent group "$ID" >/dev/null || groupadd --gid "$ID" bert
    getent passwd "$ID" >/dev/null ||
        useradd --uid "$ID" --gid "$ID" --create-home --shell /usr/sbin/nologin bert
    install -d -o "$ID" -g "$ID" "${MOUNTS[@]}"
}

step=${1:-}
if ! declare -F "step_$step" >/dev/null; then
    echo "image_steps: must be packages, install, environment or user; received '$step'" >&2
    exit 2
fi
shift
"step_$step" "$@"
