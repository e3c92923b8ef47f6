#!/bin/sh
# The versions and hashes that the image is built with:
#   lock.sh              bring the lock files in line with pyproject.toml; what is pinned stays where it still fits
#   lock.sh --upgrade    the newest versions that pyproject.toml permits
#   lock.sh --check      fail if they are out of line
# They hold for every platform and for Python 3.11 or newer. uv is installed for the while, and nothing is left.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
RUNTIME=requirements.lock
BUILD=requirements-build.lock

mode=${1:-}
case $mode in '' | --upgrade | --check) ;; *) echo "lock.sh [--upgrade | --check]" >&2; exit 2 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$PYTHON" -m pip install --quiet --target "$work/uv" uv==0.13.9

# What builds the wheel is said in pyproject.toml, too.
"$PYTHON" -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > "$work/build.in"

# lock NAME SOURCE [OPTION]: uv keeps the pins of the file that it writes to.
lock() {
    [ ! -e "$1" ] || cp "$1" "$work/$1"
    name=$1 source=$2
    shift 2
    PYTHONPATH=$work/uv "$PYTHON" -m uv pip compile --quiet --no-config --universal --python-version 3.11 \
        --generate-hashes --no-annotate --custom-compile-command "sh tools/lock.sh" \
        --output-file "$work/$name" "$@" "$source"
}

# shellcheck disable=SC2046  (no word where there is no --upgrade)
set -- $([ "$mode" != --upgrade ] || echo --upgrade)
lock "$RUNTIME" pyproject.toml "$@"
lock "$BUILD" "$work/build.in" "$@"

for name in "$RUNTIME" "$BUILD"; do
    if [ "$mode" != --check ]; then
        cp "$work/$name" "$name"
    elif ! cmp -s "$work/$name" "$name"; then
        echo "$name is not what pyproject.toml asks for; sh tools/lock.sh brings it in line" >&2
        exit 1
    fi
done
