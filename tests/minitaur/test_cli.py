"""The front door: every command is there, and is told apart from what is not."""

import importlib
import importlib.metadata

import pytest
from support.processes import run_python

from minitaur.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_main(name):
    module, does = COMMANDS[name]
    assert callable(importlib.import_module(module).main)
    assert does[0].islower()


def test_it_lists_its_commands(capsys):
    for words in ([], ["--help"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        assert all(name in printed and does in printed for name, (_, does) in COMMANDS.items())


def test_it_knows_its_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{importlib.metadata.version('minitaur-sim-to-real')}\n"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("rnu", "did you mean `minitaur run`?"),
        ("evaluate", "did you mean `minitaur eval`?"),
        ("x", "`minitaur --help` lists them"),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest(typed, hint, error_line):
    assert main([typed]) == 2
    assert error_line() == f"error: there is no command {typed!r}; {hint}\n"


def test_arguments_and_exit_code_are_those_of_the_command(error_line):
    assert main(["run", "--seconds", "-1"]) == 2
    assert error_line() == "error: seconds must be in (0, 3600], not -1.0\n"


def test_the_front_door_imports_nothing_heavy():
    script = (
        "import sys, minitaur.cli; print([m for m in sys.modules "
        "if m.partition('.')[0] in ('numpy', 'torch', 'tyro', 'onnxruntime', 'pybullet', 'rich')])"
    )
    assert run_python("-c", script).stdout == "[]\n"
