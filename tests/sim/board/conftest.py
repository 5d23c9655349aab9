"""Boards in processes of their own."""

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
