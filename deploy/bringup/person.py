"""Who stands beside the robot: asked before anything moves, and about what moved.

Nothing is armed while a person is asked: whoever types has hands near the robot.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Protocol, TextIO

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
        line = ask(f"{question} ", sys.stdin)
        if not line:
            print()
            raise RunError("nobody answers on standard input: type into a terminal, or see --help")
        return line.strip()


def ask(question: str, answers: TextIO | None) -> str:
    """Print a question, and return the next line of input with its end; "" for no line of text.

    What was typed into a terminal before the question is no answer to it, and is thrown away. What
    comes from a pipe or a file was meant for the questions to come.

    Args:
        question: As it is printed, its end of line included.
        answers: Where the answer comes from; None where there is no standard input.

    Raises:
        KeyboardInterrupt: A signal asked for an end.
    """
    if answers is not None:
        _forget_what_was_typed(answers)
    print(question, end="", flush=True)
    if answers is None:
        return ""
    try:
        return answers.readline()
    except (OSError, ValueError):  # a terminal that hung up; a closed file, or no UTF-8
        return ""


def _forget_what_was_typed(stream: TextIO) -> None:
    if os.name != "posix":
        return
    import termios

    with contextlib.suppress(OSError, ValueError, termios.error):  # closed, or hung up
        if stream.isatty():
            termios.tcflush(stream.fileno(), termios.TCIFLUSH)
