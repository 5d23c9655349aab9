"""Command lines, as a user sees them."""

import subprocess
import sys

import pytest


@pytest.fixture
def error_line(capsys):
    """Takes what was printed: nothing but one line of an error, which is returned."""

    def error_line():
        printed = capsys.readouterr()
        assert printed.out == ""
        assert_one_line(printed.err, "")
        return printed.err

    return error_line


def python(*arguments, **options):
    """Run the interpreter of the tests and return its result, with what it printed as text."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def assert_one_line(error, message):
    """Check that a text is one line of an error with a message in it."""
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
