"""What make does with the variables of a command line: each is known and used, or refused."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import ROOT

from minitaur.cli import COMMANDS

TEXT = (ROOT / "Makefile").read_text().replace("\\\n", " ")
KNOWN = {
    target: names.split()
    for target, names in re.findall(r"^([a-z-]+)\.variables := (.*)$", TEXT, re.M)
}
TARGETS = re.search(r"^targets := (.*)$", TEXT, re.M)[1].split()
FLAGS = re.search(r"^flags := (.*)$", TEXT, re.M)[1].split()
# Those that are words for the shell, or that stand in no option of a command.
SUBMAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
WORDS = {"ARGS", "LOG", "RUNS", "COMMIT", "VARY", "BUILD", "CROSS"}


def make(*arguments, **environment):
    """Say what make would do in an environment that is ready."""
    ready = ("-o", ".venv/.play", "-o", ".venv/.ready")
    # What `make test` hands down would make this a sub-make.
    ours = {name: value for name, value in os.environ.items() if name not in SUBMAKE}
    return subprocess.run(
        ["make", "-n", *ready, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**ours, **environment},
    )


def words_of(*arguments, **environment):
    """The words of the command that make would run."""
    done = make(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout.replace("\\\n", " "))


def refusal(*arguments, **environment):
    """The one line by which make refuses."""
    done = make(*arguments, **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return re.fullmatch(r"Makefile:\d+: \*\*\* (.*)\.  Stop\.\n", done.stderr)[1]


def test_every_target_is_in_the_help_with_its_variables():
    lines = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in TARGETS:
        (found,) = re.findall(rf"^  make {target} .*\n((?: {{10}}.*\n)?)", lines, re.M)
        assert found.split() == KNOWN.get(target, [])


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_refuses_what_it_does_not_know(target):
    assert refusal(target, "SECNODS=3").startswith(f"make {target} knows no SECNODS; ")


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("eval", "RANDOMISATION=table1"), "RANDOMIZATION"),
        (("run", "SECOND=3"), "SECONDS"),
        (("run", "POLCY=x"), "POLICY"),
        (("run", "randomization=table1"), "RANDOMIZATION"),
        (("train", "STEP=1"), "STEPS"),
        (("sweep", "TRAIL=3"), "TRIALS"),
        (("setup", "PYTON=python3"), "PYTHON"),
        (("run", "SECOND:=3"), "SECONDS"),
    ],
)
def test_the_nearest_is_named(arguments, nearest):
    name = re.split(":?=", arguments[1])[0]
    assert refusal(*arguments) == f"make {arguments[0]} knows no {name}; did you mean {nearest}?"


def test_a_misspelt_name_in_makes_own_variable_is_refused_too():
    assert refusal("run", MAKEFLAGS="-- SECOND=3").startswith("make run knows no SECOND; ")


def test_targets_together_take_what_one_of_them_knows():
    assert "--seconds=3" in words_of("train", "run", "SECONDS=3")
    assert refusal("check", "test", "SECONDS=3").startswith("make check test knows no SECONDS; ")


@pytest.mark.parametrize("target", KNOWN)
def test_every_variable_of_a_target_becomes_an_option_of_its_command(target):
    given = {name: "1" if name in FLAGS else f"value-of-{name}" for name in KNOWN[target]}
    words = words_of(target, *(f"{name}={value}" for name, value in given.items()))
    for name, value in given.items():
        if name in FLAGS:
            assert f"--{name.lower().replace('_', '-')}" in words
        elif name in WORDS:
            assert any(word.endswith(value) for word in words)
        else:
            assert any(re.fullmatch(rf"(--[a-z-]+=)?(.*/)?{value}(/.*)?", word) for word in words)


@pytest.mark.parametrize(
    "target",
    [
        target
        for target in (
            "run",
            "zero",
            "wiggle",
            "latency",
            "eval",
            "report",
            "train",
            "sweep",
            "export",
            "board",
            "hil",
            "transfer",
            "explain",
        )
    ],
)
def test_the_command_knows_the_options_that_make_gives_it(target):
    """Its help lists each of them."""
    given = [f"{name}={'1' if name in FLAGS else 'x'}" for name in KNOWN[target] if name != "ARGS"]
    words = words_of(target, *given)
    command = words[1]
    module = COMMANDS[command][0]
    assert callable(importlib.import_module(module).main)
    text = subprocess.run(
        [sys.executable, "-m", "minitaur", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    ).stdout
    for option in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
        assert re.search(rf"{option}\b", text), option


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize(
    ("value", "meant"), [("1", True), ("yes", True), ("0", False), ("no", False)]
)
def test_a_flag_says_yes_or_no(flag, value, meant):
    target = next(target for target, names in KNOWN.items() if flag in names)
    option = f"--{flag.lower().replace('_', '-')}"
    assert (option in words_of(target, f"{flag}={value}")) == meant


def test_a_flag_that_says_neither_is_refused():
    assert refusal("run", "GUI=maybe") == "GUI is 1 or 0, not maybe"


def test_an_empty_value_is_refused():
    """A script that leaves out a port must not run the robot that is found."""
    assert refusal("run", "PORT=") == "PORT is empty; leave it out for its default"


@pytest.mark.parametrize(
    "value",
    ["a b", "it's", 'say "x"', "a$b", "$(X)", "$$", "`id`", "a,b)", "(a", "\\", "ü", "-x", "*"],
)
def test_a_value_passes_through_as_it_is(value):
    assert f"--policy={value}" in words_of("run", f"POLICY={value}")


def test_what_a_sweep_varies_are_words_of_one_option():
    words = words_of("sweep", "VARY=a.b=1e-4..1e-3:log c=0.1,0.2", "TRIALS=12", "SEEDS=3")
    assert words[1:] == [
        "sweep", "--config=trot", "--vary", "a.b=1e-4..1e-3:log", "c=0.1,0.2", "--seeds=3",
        "--trials=12",
    ]  # fmt: skip
    assert "--vary" not in words_of("sweep", "SEEDS=3")


def test_more_policies_of_a_run_are_words_of_one_option():
    words = words_of("run", "POLICY=walk", "ALSO=trot 'my gallop.onnx'", "COMMAND=keyboard")
    assert words[1:6] == ["run", "--policy=walk", "--also", "trot", "my gallop.onnx"]
    assert "--command=keyboard" in words


def test_the_environment_gives_no_value():
    theirs = {
        "SEED": "5",
        "PORT": "/dev/x",
        "SECONDS": "99",
        "POLICY": "q",
        "GUI": "1",
        "ARGS": "-x",
    }
    assert words_of("run", **theirs) == words_of("run")
    assert words_of("-e", "hil", **theirs) == words_of("hil")


def test_a_film_is_asked_for_only_of_the_simulator():
    assert words_of("run", "VIDEO=a.gif")[-1] == "--video=a.gif"
    assert not any("--video" in word for word in words_of("run", "ROBOT=serial"))


def test_the_firmwares_own_makefile_refuses_too():
    done = subprocess.run(
        ["make", "-n", "BULD=x"],
        cwd=ROOT / "robot_firmware_bridge" / "firmware",
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.returncode == 2
    assert "no variable BULD, only BUILD CROSS" in done.stderr


def copied(tmp_path):
    """A folder that make can build an environment in."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def fake_python(path, version):
    """A stand-in for an interpreter that is not on this computer; it only tells its version."""
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in -V) echo Python {version};; '
        '-c) case "$2" in *exit*) exit 1;; *) echo other;; esac;; *) exit 1;; esac\n'
    )
    path.chmod(0o755)
    return path


def test_an_interpreter_that_is_absent_or_too_old_is_refused_before_anything_is_built(tmp_path):
    folder = copied(tmp_path)
    old = fake_python(tmp_path / "python3.9", "3.9.1")
    for python, text in (
        ("python9.9", "error: PYTHON: there is no python9.9"),
        (str(old), f"error: PYTHON: this needs Python 3.11 or newer, {old} is Python 3.9.1"),
    ):
        done = subprocess.run(
            ["make", "setup", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == text
        assert not (folder / ".venv").exists()


def test_another_interpreter_builds_the_environment_anew(tmp_path):
    folder = copied(tmp_path)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for stamp in (".play", ".ready"):
        (folder / ".venv" / stamp).touch()
    other = fake_python(tmp_path / "python3.13", "3.13.0")

    def would(*arguments):
        return subprocess.run(
            ["make", "-n", "setup", *arguments], cwd=folder, capture_output=True, text=True
        ).stdout

    assert "building .venv" not in would()
    assert "building .venv" not in would(f"PYTHON={Path(sys.executable).resolve()}")
    assert "building .venv" in would(f"PYTHON={other}")
