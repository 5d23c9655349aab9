"""Every end of a command: its exit code, and one line where it failed."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from support.processes import ROOT, until

from robot_firmware_bridge.command_line import (
    STOP_SIGNALS,
    command,
    cure,
    describe,
    save_traceback,
)
from robot_firmware_bridge.errors import PortError


def ends(error):
    """A command that raises an error."""

    @command
    def main():
        raise error

    return main()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PortError("there is no port /dev/x"), "error: there is no port /dev/x\n"),
        (PortError("two\nlines"), "error: two lines\n"),
        (OSError(errno.ENOSPC, "No space left", "/a/b"), "error: /a/b: No space left\n"),
        (PermissionError(errno.EACCES, "Permission denied"), "error: Permission denied\n"),
        (
            ModuleNotFoundError("no", name="torch.nn"),
            "error: this needs torch: pip install '.[train]'\n",
        ),
        (ModuleNotFoundError("No module named 'x'", name="x"), "error: No module named 'x'\n"),
        (MemoryError(), "error: out of memory\n"),
    ],
)
def test_an_error_that_can_be_expected_is_one_line_and_exit_2(error, line, capsys):
    assert ends(error) == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("version", "machine", "text"),
    [
        ((3, 11), "x86_64", "pip install '.[sim]'"),
        ((3, 13), "x86_64", "it has no wheel for Python 3.13 on linux x86_64, only for 3.11 on "),
        ((3, 11), "aarch64", "it has no wheel for Python 3.11 on linux aarch64, only for 3.11 on "),
    ],
)
def test_where_pybullet_has_no_wheel_nobody_is_told_to_install_it(
    version, machine, text, monkeypatch
):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cure("pybullet").startswith(text)
    assert cure("mujoco") == "pip install '.[mujoco]'"


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RecursionError(), KeyError("x")])
def test_any_other_error_is_one_line_that_names_the_file_of_its_traceback(
    error, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ends(error) == 70
    (file,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        f"error: {describe(error)}; please report it with its traceback, {file}\n"
    )
    assert "in ends" in file.read_text() or "raise error" in file.read_text()


def test_where_no_traceback_can_be_written_the_line_stands_alone(tmp_path):
    assert save_traceback(ValueError(), tmp_path / "none" / "x.txt") is None


def test_a_command_that_is_interrupted_says_so(capsys):
    assert ends(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


SLEEPER = """
import sys, time
from robot_firmware_bridge.command_line import command

@command
def main():
    print("ready", flush=True)
    time.sleep(60)
    return 0

sys.exit(main())
"""


def start(script, shell="", **options):
    """Start a script as a child, through a line of shell where that prepares something."""
    whole = f'{shell} exec "$0" -c "$1"'
    return subprocess.Popen(
        ["bash", "-c", whole, sys.executable, script], cwd=ROOT, text=True, **options
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_signal_that_asks_for_an_end_gets_one(number):
    child = start(SLEEPER, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    assert child.communicate() == ("", "interrupted\n")
    assert child.returncode == 130


def test_a_signal_that_was_ignored_from_the_start_stays_ignored():
    """As nohup ignores the hang-up, and a shell the Ctrl-C of a command in the background."""
    child = start(SLEEPER, "trap '' HUP;", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(signal.SIGHUP)
    until(lambda: not pending(child.pid, signal.SIGHUP))
    assert child.poll() is None
    child.terminate()
    assert child.wait() == 130
    child.communicate()


def pending(pid, number):
    """Whether a signal was sent and not yet taken or thrown away."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        masks = [line.split()[1] for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


TALKER = """
import os, sys
from robot_firmware_bridge.command_line import command

@command
def main():
    for _ in range(20000):
        print("a line of text for somebody who may be gone")
    print("a word to stderr", file=sys.stderr)
    with open(os.environ.get("WITNESS", os.devnull), "w") as file:
        print(file.fileno(), file=file)
    return 1

sys.exit(main())
"""


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("exec >/dev/full;", "error: standard output takes no text: No space left on device\n"),
        ("exec > >(head -1 >/dev/null);", ""),
        ("exec >&-;", ""),
        ("exec 2>&-;", None),
        ("exec 0<&- >&- 2>&-;", None),
        ("exec 2>/dev/full;", None),
    ],
)
def test_an_output_that_nobody_reads_changes_nothing(redirection, said, tmp_path):
    """The exit code is the command's own, and no file takes the number of stderr."""
    witness = tmp_path / "witness"
    child = start(
        TALKER,
        redirection,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "WITNESS": str(witness)},
    )
    err = child.communicate()[1]
    assert child.returncode == 1
    if said is not None:
        assert err == f"a word to stderr\n{said}"
    assert int(witness.read_text()) > 2


def test_a_text_that_is_lost_is_no_success():
    """The text is all that many commands have to give; a reader that had enough lost nothing."""
    script = TALKER.replace("return 1", "return 0")
    full = start(script, "exec >/dev/full;", stderr=subprocess.DEVNULL)
    assert full.wait() == 1
    enough = start(script, "exec > >(head -1 >/dev/null);", stderr=subprocess.DEVNULL)
    assert enough.wait() == 0


def test_letters_that_a_terminal_does_not_know_are_no_error():
    script = (
        "import sys\n"
        "from robot_firmware_bridge.command_line import command\n"
        "@command\n"
        "def main():\n"
        "    print('\\u00fcber')\n"
        "    return 0\n"
        "sys.exit(main())\n"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    plain["PYTHONIOENCODING"] = "ascii"
    child = start(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain)
    assert child.communicate() == ("\\xfcber\n", "")
    assert child.returncode == 0
