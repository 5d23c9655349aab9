"""Programs that tests start, and conditions that tests wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# No test needs this long; a shared machine may.
PATIENCE_S = 60.0


def run_python(*arguments, **environment):
    """Run Python with these arguments from the project's root; return the ended process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def until(condition, meanwhile=lambda: None, patience_s=PATIENCE_S):
    """Wait until a condition holds, and do ``meanwhile`` before every look but the first."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        meanwhile()
        time.sleep(0.005)


def orphan(module, *arguments):
    """Start a board from a process that ends once the port is there; return the board's number."""
    script = (
        "import os, subprocess, sys\n"
        "from subprocess import DEVNULL\n"
        "us = ['--parent', str(os.getpid())]\n"
        "board = subprocess.Popen([sys.executable, '-m', *sys.argv[1:], *us],\n"
        "    stdin=DEVNULL, stdout=subprocess.PIPE, stderr=DEVNULL)\n"
        "board.stdout.readline()\n"
        "print(board.pid, flush=True)\n"
    )
    return int(run_python("-c", script, module, *arguments).stdout)


def has_ended(pid):
    """Return whether the process of a number has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead, and its parent has not noticed
