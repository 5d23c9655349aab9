"""Programs that tests start, and conditions that tests wait for."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# No test needs this long; a shared machine may.
PATIENCE_S = 60.0
# What a training imports, in six seconds: once for all processes that are forked.
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    ["training.runs.trainer", "training.sweeps.trials", "training.tasks", "torch._dynamo"]
)


class ForkedProcess:
    """A process that begins with PyTorch imported, and calls a function: its result is its end.

    For tests of what happens to a process that trains, not of how one is started. It leads a
    session of its own; a signal to its group reaches its workers, too.
    """

    def __init__(self, folder, function, *arguments):
        self._out, self._errors = folder / "out.txt", folder / "errors.txt"
        self._process = _FORKED.Process(
            target=_call, args=(self._out, self._errors, function, arguments)
        )
        self._process.start()
        self.pid = self._process.pid

    def is_running(self):
        return self._process.is_alive()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self):
        """Wait for the end; return the exit code, and what was printed to output and errors."""
        try:
            self._process.join()
        finally:
            self.kill()  # where the test was given up; else it has ended
        return self._process.exitcode, self._out.read_text(), self._errors.read_text()


def _call(out, errors, function, arguments):
    """Call a function in this forked process; what it returns is the exit code."""
    os.setsid()
    for number, path in ((1, out), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    # Where the tests run in a shell's background, it would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(function(*arguments))


def run_script(path, *words):
    """Run a file as the program of this process, which its workers import."""
    sys.argv = [str(path), *map(str, words)]
    runpy.run_path(str(path), run_name="__main__")


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
