"""Boards in processes of their own, and what outlives them or should not."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import PATIENCE_S

from sim.board.process import BoardProcess


class Board(BoardProcess):
    """A board whose events a test expects."""

    def expect(self, name, **fields):
        """Wait for an event with these fields; return it."""
        wanted = {"event": name, **fields}.items()
        event = self.wait_event(lambda event: wanted <= event.items(), PATIENCE_S)
        assert event is not None, f"no {name} {fields} among {self.events()}"
        return event

    def send_signal(self, number):
        self._process.send_signal(number)

    def exit_code(self):
        """Wait for the end of the process; return its exit code."""
        return self._process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts boards at one path; they are stopped when the test ends."""
    boards = []

    def start(*arguments, module="sim.board"):
        boards.append(Board(module, ["--link", str(tmp_path / "port"), *map(str, arguments)]))
        return boards[-1]

    yield start
    for board in boards:
        board.stop()


@pytest.fixture
def ends():
    """Return a function that tells whether the process of a number ends in time."""

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
