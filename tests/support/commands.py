"""Command lines, as a user sees them."""

import pytest


@pytest.fixture
def error_line(capsys):
    """Takes what was printed: nothing but one line of an error, which is returned."""

    def error_line():
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return error_line
