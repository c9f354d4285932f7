#!/bin/sh
# Make .venv, or bring it up to date; `make run` and `make test` call this first, and mostly there is nothing to do.
# It may be stopped or killed at any moment: the next call goes on, and keeps every package that is already whole.
set -eu
cd "$(dirname "$0")"
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME  # whatever environment is active outside, only .venv counts
export PYTHONNOUSERSITE=1 PIP_USER=0

say() { echo "set-up: $*"; }
fail() { trap - EXIT; say "$*" >&2; exit 1; }

# True if .venv holds a whole pip and a Python that runs and finds it (one without pyvenv.cfg is the Python it was made with).
usable() {
    ls .venv/lib/python*/site-packages/pip-*/INSTALLER >/dev/null 2>&1 &&
        .venv/bin/python -I -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# Set `python` to the first Python that runs, is new enough and can make environments. Running it is the only proof:
# pyenv puts shims on the PATH for versions that are not installed, and Debian ships venv without its pip.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.14 python3.13 python3.12 python3.11 python3 python
        for lib in .venv/lib/python3.*; do set -- "${lib##*/}" "$@"; done  # what a damaged .venv was made with comes first
    fi
    old='' bare=''
    for python do
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            old="$old${old:+, }$python is $version"
        elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
            bare=${bare:-$version}
        else
            return 0
        fi
    done
    [ -z "$bare" ] || fail "Python $bare lacks venv. On Debian and Ubuntu: sudo apt install python$bare-venv"
    [ -z "$old" ] || fail "Python 3.11 or newer is needed; $old. If there is another: make PYTHON=/path/to/python3"
    fail "${PYTHON:-Python} was not found or does not run; install Python 3.11 or newer"
}

# The stamp holds contents, since times change with every checkout, and the folder, since .venv does not survive a move.
wanted=$({ pwd -P; cat pyproject.toml constraints.txt; } | cksum)
ready() { [ "$(cat .venv/.ready 2>/dev/null)" = "$wanted" ] && usable; }
if ready; then exit; fi

# One at a time. The lock ends with its last process, so a pip that outlives a killed make is waited for.
mkdir -p .venv
exec 9>.venv/.lock
if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another set-up of this .venv"
    flock 9
    if ready; then exit; fi
fi
trap 'say "not finished; the same command goes on from here" >&2' EXIT
trap 'exit 130' INT
rm -f .venv/.ready

# What a killed pip left: downloads, packages it had moved aside, and packages without the file that it writes after all others.
rm -rf .venv/tmp .venv/lib/python*/site-packages/~*
for package in .venv/lib/python*/site-packages/*.dist-info; do
    [ -e "$package/INSTALLER" ] || rm -rf "$package"
done

if ! usable; then
    find_python
    say "making .venv with Python $version ($python)"
    rm -rf .venv/bin/python* .venv/lib/python*/site-packages/pip .venv/lib/python*/site-packages/pip-*  # the rest stays
    "$python" -m venv .venv
fi

if ls -d .venv/lib/python*/site-packages/torch >/dev/null 2>&1; then
    say "bringing .venv up to date with pyproject.toml and constraints.txt"
else
    if [ "$(uname)" = Linux ]; then size='about 6 GB (PyTorch with CUDA)' need=11; else size='about 1 GB' need=3; fi
    say "installing $size into .venv; this takes a few minutes, and can be interrupted and resumed"
    free=$(df -Pk .venv/ | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
    [ "$free" -ge "$need" ] || say "warning: $free GB of disk are free; downloads included, $need GB are needed for a while"
fi

export TMPDIR="$PWD/.venv/tmp"  # wheels of gigabytes do not fit into a /tmp that is kept in memory
mkdir "$TMPDIR"
.venv/bin/python -m pip install --upgrade pip  # before 25.1 it starts a broken download from the beginning
PYTHONWARNINGS='ignore:Editable installation' \
    .venv/bin/python -m pip install -c constraints.txt -e '.[test,pronunciation]'
rm -rf "$TMPDIR"

echo "$wanted" >.venv/.ready  # last: it says that all of the above is done
trap - EXIT
say "done"
