#!/usr/bin/env bash
# Test the second stack (TFX 1.21, Python 3.13) on a machine whose own glibc is too old for it.
#
# Creates a small Debian 13 tree with debootstrap, copies the committed repository into it, and runs
# there the steps of the Dockerfile (scripts/image_steps.sh), the imports of the whole stack, the
# fast tests, and, with the image's account, a pipeline on the bundled sample with one epoch. Needs
# root (for chroot) and debootstrap.
#
# usage: scripts/debian13_lane.sh [env|imports|tests|run]...    default: all four, in this order
#
# environment:
#   BERT_DEBIAN13_ROOT  folder of the tree, which is reused; default: ~/.cache/bert-debian13
#   DEBIAN_MIRROR       mirror of Debian packages; default: the one of this machine's apt
set -euo pipefail
cd "$(dirname "$0")/.."

ROOT=${BERT_DEBIAN13_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/bert-debian13}
PACKAGES=$(scripts/image_steps.sh packages build | tr ' ' ,)
# Folder of the repository in the image, and the account that runs the nodes.
HOME_IN_IMAGE=$(sed -n 's/^WORKDIR //p' Dockerfile | sort -u)
ACCOUNT=$(sed -n 's/^USER \([0-9]*\):.*/\1/p' Dockerfile | sort -u)
# Variables with the settings for package registries.
PASSED_ON='^(PIP_(INDEX|EXTRA_INDEX|TRUSTED|CERT|DEFAULT_TIMEOUT|PROXY)|UV_(INDEX|DEFAULT_INDEX|EXTRA_INDEX|NATIVE_TLS|HTTP)|SSL_CERT_|[Hh][Tt][Tt][Pp][Ss]?_[Pp]|[Nn][Oo]_[Pp])'
STEPS=("$@")
[ ${#STEPS[@]} -gt 0 ] || STEPS=(env imports tests run)

stop() {
    echo "debian13_lane: $*" >&2
    exit 1
}

say() { echo "debian13_lane: $*"; }

host_mirror() {
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        echo "$DEBIAN_MIRROR"
    elif grep -q '^ID=debian$' /etc/os-release; then
        apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
            grep -v security | head -n 1 || true
    fi
}

make_tree() {
    [ -e "$ROOT/.complete" ] && return
    command -v debootstrap >/dev/null || stop "debootstrap is not installed; run apt-get install debootstrap"
    say "making a Debian 13 tree in $ROOT"
    rm -rf --one-file-system "$ROOT"
    mkdir -p "$ROOT"
    # shellcheck disable=SC2046  # without a mirror, debootstrap uses its default
    debootstrap --variant=minbase --include="$PACKAGES" trixie "$ROOT" $(host_mirror) \
        >"$ROOT.log" 2>&1 || {
        tail -n 20 "$ROOT.log" >&2
        stop "debootstrap failed; see the log in $ROOT.log"
    }
    touch "$ROOT/.complete"
}

# The tree uses this machine's settings for name resolution, certificates and package registries.
copy_settings() {
    local path
    for path in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/uv /etc/ssl/certs/ca-certificates.crt \
        "$HOME/.config/pip" "$HOME/.config/uv"; do
        [ -e "$path" ] || continue
        local target=$ROOT${path/#"$HOME"//root}
        mkdir -p "$(dirname "$target")"
        rm -rf "$target"
        cp -rL "$path" "$target"
    done
}

# Clone the committed files; keep the environment of an earlier run.
copy_repository() {
    local place=$ROOT$HOME_IN_IMAGE kept
    rm -rf "$place.new"
    git clone --quiet --no-hardlinks . "$place.new"
    for kept in .venv .cache; do
        [ ! -d "$place/$kept" ] || mv "$place/$kept" "$place.new/$kept"
    done
    rm -rf "$place"
    mv "$place.new" "$place"
}

# Run a command in the tree, with mounts in a separate namespace that disappears afterwards.
inside() {
    local variables
    mapfile -t variables < <(env | grep -E "$PASSED_ON" || true)
    ROOT="$ROOT" unshare --mount bash -c '
        set -e
        mount --bind /proc "$ROOT/proc"
        mount --rbind /dev "$ROOT/dev"
        exec chroot "$ROOT" "$@"
    ' inside /usr/bin/env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
        TF_CPP_MIN_LOG_LEVEL=3 "${variables[@]}" bash -euc "cd $HOME_IN_IMAGE; $1"
}

step_env() {
    inside 'scripts/image_steps.sh environment dev; scripts/image_steps.sh user'
}

step_imports() {
    inside '.venv/bin/python -W ignore - 2>/tmp/imports.log <<EOF || { tail -n 30 /tmp/imports.log; exit 1; }
import sys
import tfx.v1, tensorflow, tensorflow_text, keras, keras_hub, keras_tuner
import tensorflow_model_analysis, tensorflow_transform, tensorflow_hub, kfp
import ml_metadata, numpy, apache_beam
for module in (tfx.v1, tensorflow, keras, keras_hub, numpy, apache_beam):
    print(f"  {module.__name__} {module.__version__}")
print(f"  Python {sys.version.split()[0]}")
EOF'
}

step_tests() {
    inside 'make test-fast'
}

# One epoch suffices to test training; without a floor, the model is always pushed. In the second
# run, every node must be cached.
step_run() {
    inside "rm -rf /tmp/lane; install -d -o $ACCOUNT /tmp/lane
        exec setpriv --reuid=$ACCOUNT --regid=$ACCOUNT --clear-groups --no-new-privs \
            env HOME=/tmp/lane PATH=$HOME_IN_IMAGE/.venv/bin:\$PATH bash -eu" <<'EOF'
touch /gcs/writable /s3/writable /minio/writable
export BERT__PIPELINE__ROOT=/tmp/lane/root BERT__PUSHER__BASE_DIRECTORY=/tmp/lane/serving
export BERT__TRAINER__EPOCHS=1
export BERT__EVALUATOR__FLOORS='[{metric = "accuracy", min = 0}]'
bert run
bert run
bert predict "Two hours I will not get back." "A warm room, and a good bed."
EOF
}

[ "$(id -u)" = 0 ] || stop "must run as root, for chroot"
make_tree
copy_settings
copy_repository
for step in "${STEPS[@]}"; do
    declare -F "step_$step" >/dev/null || stop "unknown step '$step'; must be env, imports, tests or run"
    say "$step"
    started=$SECONDS
    "step_$step"
    say "$step: done in $((SECONDS - started)) s"
done
