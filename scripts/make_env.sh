#!/usr/bin/env bash
# Create or update .venv. Does nothing if it matches the requirement files.
#
# usage: scripts/make_env.sh [dev] [gpu] | airflow
#   dev  adds the tools for tests and linters (requirements-dev.txt)
#   gpu  adds TensorFlow's CUDA libraries (requirements-gpu.txt)
#   airflow  a separate environment in another VENV (requirements-airflow.txt; Python 3.11 or 3.12)
# Groups are kept: an environment that was created with "dev" keeps it in later updates.
#
# environment:
#   PYTHON  interpreter, e.g. python3.12 or a path; default: the first that works on this system
#   VENV    folder of the environment; default: .venv
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
PYTHON=${PYTHON:-}
# Never download an interpreter from outside the package registry.
export UV_PYTHON_DOWNLOADS=never

stop() {
    echo "make env: $*" >&2
    exit 1
}

find_uv() {
    # Run it, because a pyenv shim can exist without working.
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    local home=.cache/uv-bootstrap
    if ! "$home/bin/uv" --version >/dev/null 2>&1; then
        echo "make env: uv is not installed; installing it with pip into $home" >&2
        # --target does not change the system's Python, so Debian's "externally managed" rule allows it.
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade \
            --target "$home" uv >&2 ||
            stop "pip cannot install uv; install python3-pip or uv and try again"
    fi
    echo "$PWD/$home/bin/uv"
}

# TFX 1.21, the only version for Python 3.12 and 3.13, only has wheels for glibc 2.39 and newer.
glibc_is_old() {
    local version
    version=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || true
    [ -n "$version" ] && [ "$(printf '%s\n2.39\n' "$version" | sort -V | head -n 1)" != 2.39 ]
}

choose_python() {
    local versions=(3.11 3.12 3.13) version found
    if [ "$groups" = airflow ]; then
        versions=(3.11 3.12)
    elif glibc_is_old; then
        versions=(3.11)
        echo "make env: this system's glibc is older than 2.39, so only Python 3.11 works here" >&2
    fi
    for version in "${versions[@]}"; do
        if found=$("$UV" python find "$version" 2>/dev/null); then
            echo "$found"
            return
        fi
    done
    stop "found no Python ${versions[*]}; install one, or run make env PYTHON=/path/to/python3.11"
}

check_compiler() {
    command -v c++ >/dev/null || command -v g++ >/dev/null ||
        stop "no C++ compiler to build pyfarmhash; on Debian, run apt-get install g++"
    "$VENV/bin/python" - <<'EOF' || stop "Python's headers are missing; on Debian, run apt-get install python3-dev"
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())
EOF
}

# A link points to another checkout's environment, which must not be redirected to this one.
if [ -L "$VENV" ]; then
    echo "make env: $VENV is a link and was not changed"
    exit 0
fi

# The requested groups, and those that the environment already has.
groups=$(printf '%s\n' "$@" $(cat "$VENV/.groups" 2>/dev/null || true) | sort -u | xargs)
files=(requirements.txt)
for group in $groups; do files+=("requirements-$group.txt"); done
# Airflow needs other versions of some packages, so it has its own requirements.
[ "$groups" != airflow ] || files=(requirements-airflow.txt)

state=$(cat pyproject.toml "${files[@]}" scripts/make_env.sh | sha256sum | cut -d' ' -f1)
state="$state $groups"
if [ -z "$PYTHON" ] && [ "$(cat "$VENV/.state" 2>/dev/null)" = "$state" ]; then
    exit 0
fi

UV=$(find_uv)
if [ -n "$PYTHON" ]; then
    wanted=$("$UV" python find "$PYTHON" 2>/dev/null) || stop "found no interpreter PYTHON=$PYTHON"
elif [ -x "$VENV/bin/python" ]; then
    wanted=
else
    wanted=$(choose_python)
fi
if [ -n "$wanted" ]; then
    version=$("$wanted" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" != "$version" ]; then
        if [ "$version" != 3.11 ] && [ "$groups" != airflow ] && glibc_is_old; then
            stop "Python $version needs glibc 2.39 or newer (Debian 13, Ubuntu 24.04); use PYTHON=python3.11"
        fi
        "$UV" venv --quiet --clear --python "$wanted" "$VENV"
    elif [ "$(cat "$VENV/.state" 2>/dev/null)" = "$state" ]; then
        exit 0
    fi
fi
[ "$groups" = airflow ] || check_compiler

echo "make env: installing ${files[*]} into $VENV ($("$VENV/bin/python" --version))"
rm -f "$VENV/.state"
"$UV" pip sync --quiet --python "$VENV/bin/python" --require-hashes "${files[@]}"
[ "$groups" = airflow ] ||
    "$UV" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation --editable .
echo "$groups" >"$VENV/.groups"
echo "$state" >"$VENV/.state"
[ "$groups" != airflow ] || {
    echo "make env: $VENV is ready; next: $VENV/bin/airflow version"
    exit 0
}
echo "make env: $VENV is ready"
