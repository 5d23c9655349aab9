"""Who stands beside the robot: asked before anything moves, and about what moved.

Nothing is armed while a person is asked: whoever types has hands near the robot.
"""

from __future__ import annotations

import sys
from typing import Protocol

from deploy.errors import RunError


class Person(Protocol):
    """Somebody who sees the robot."""

    def agrees(self, question: str) -> bool:
        """Return whether the person says yes."""

    def answer(self, question: str) -> str:
        """Return the person's answer, one line."""


class TerminalPerson:
    """The person at the terminal.

    Args:
        yes: Every question for a yes is answered already.
    """

    def __init__(self, *, yes: bool = False) -> None:
        self._yes = yes

    def agrees(self, question: str) -> bool:
        """Return whether the person types yes, and no other word.

        Raises:
            RunError: Nobody answers.
        """
        if self._yes:
            print(f"{question} yes (--yes)")
            return True
        return self.answer(f"{question} Type yes:").lower() == "yes"

    def answer(self, question: str) -> str:
        """Return the line that the person types.

        Raises:
            RunError: Nobody answers.
        """
        print(f"{question} ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            raise RunError("nobody answers on standard input: type into a terminal, or see --help")
        return line.strip()
