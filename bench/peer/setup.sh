#!/bin/sh
# Build .venv-peer, where the stock pybullet_envs Minitaur runs with the old packages it needs.
# Does nothing when the environment is already there and was built from these files.
#   PYTHON=/path/to/python3.11 bench/peer/setup.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.venv-peer
log=$root/build/peer-setup.log
stamp=$venv/.stamp
python=${PYTHON:-python3.11}

wanted=$(cat "$here"/requirements-*.txt "$here/setup.sh" | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

mkdir -p "$root/build"
: >"$log"

step() { # step WHAT COMMAND...: run quietly, or stop with one line that says what failed
    what=$1
    shift
    if ! "$@" >>"$log" 2>&1; then
        echo "bench/peer/setup.sh: cannot $what; the output is in $log" >&2
        exit 1
    fi
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check install "$@"; }

trial() { # one control step of the stock environment
    "$venv/bin/python" "$here/stock_minitaur.py" --steps 1
}

step "find Python 3.11 as '$python' (set PYTHON)" \
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
rm -rf "$venv"
step "create $venv" "$python" -m venv "$venv"
step "install the old build tools" pip -r "$here/requirements-build.txt"
step "install PyBullet, numpy and protobuf" pip -r "$here/requirements-engine.txt"
step "install gym 0.21" pip --no-build-isolation -r "$here/requirements-gym.txt"
step "step the stock environment" trial
echo "$wanted" >"$stamp"
echo "bench/peer/setup.sh: built $venv"
