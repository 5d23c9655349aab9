"""Boards that outlive, or should not outlive, the process that started them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE_S = 60.0


@pytest.fixture
def ends():
    """Wait until a process has ended, by its number; whether it has."""

    def ends(pid):
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return True
            if state == "Z":  # dead, and its parent has not noticed
                return True
            time.sleep(0.01)
        return False

    return ends


@pytest.fixture
def orphan():
    """Start a board from a process that ends once the port is there; the board's number."""

    def start(module, *arguments):
        script = (
            "import subprocess, sys\n"
            "board = subprocess.Popen([sys.executable, '-m', *sys.argv[1:]],\n"
            "    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n"
            "board.stdout.readline()\n"
            "print(board.pid, flush=True)\n"
        )
        command = [sys.executable, "-c", script, module, "--exit-with-parent", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return int(done.stdout)

    return start
