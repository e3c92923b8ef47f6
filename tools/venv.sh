#!/bin/sh
# Make .venv with the newest suitable Python and install this tree into it: venv.sh [GROUP]
# Nothing happens, and no network is needed, while pyproject.toml and the place of the tree stay the same.
set -eu
cd "$(dirname "$0")/.."
group=${1:-}
OLDEST=11

say() { echo "$*" >&2; }
fail() { say "$*"; exit 1; }
ended() { trap - EXIT; say "interrupted; the next make goes on from here"; exit 130; }
trap ended HUP INT TERM

# What was installed: what pyproject.toml said, and where the tree was (scripts in a venv name their place).
wanted() { pwd; cat pyproject.toml; }
current() {
    for stamp in ".venv/.installed-${group:-run}" .venv/.installed-dev; do
        if [ -f "$stamp" ] && wanted | cmp -s - "$stamp" && .venv/bin/python -c '' 2>/dev/null; then return 0; fi
    done
    return 1
}

qualifies() { "$1" -c "import sys; sys.exit(sys.version_info < (3, $OLDEST))" 2>/dev/null; }
can_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The newest Python that can make a venv at once, else the newest one.
find_python() {
    newest=
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        qualifies "$candidate" || continue
        if can_venv "$candidate"; then echo "$candidate"; return; fi
        newest=${newest:-$candidate}
    done
    echo "$newest"
}

current && exit 0

python=$(find_python)
[ -n "$python" ] || fail "Python 3.$OLDEST or newer is needed and none is on the PATH: install python3 and python3-venv of a newer release."
if ! can_venv "$python"; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    sh tools/packages.sh install "python$version-venv"
    can_venv "$python" || fail "$python still cannot make a virtual environment."
fi

if [ -e .venv ] && ! { [ -f .venv/pyvenv.cfg ] && qualifies .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "removing .venv, which does not work any more"
    rm -rf .venv
fi
if [ ! -e .venv ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
rm -f .venv/.installed-*
say "installing ecmp-exporter and its dependencies${group:+ for development} into .venv (up to a minute or two)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
if [ -n "$group" ]; then
    .venv/bin/python -m pip install --quiet --editable . --group "$group"
else
    .venv/bin/python -m pip install --quiet --editable .
fi
wanted > ".venv/.installed-${group:-run}"
