"""The committed C follows from protocol.toml, the robot and the limits."""

import shutil
import subprocess
import sys

import pytest

from robot_firmware_bridge.firmware.tools import generate


def test_committed_files_are_fresh():
    assert generate.stale(write=False) == []


def test_a_stale_file_is_named_and_written(tmp_path, monkeypatch):
    for name in ("protocol.h", "protocol.c", "robot.h"):
        shutil.copy(generate.CORE / name, tmp_path)
    (tmp_path / "robot.h").write_text("/* of last week */\n")
    monkeypatch.setattr(generate, "CORE", tmp_path)
    assert generate.stale(write=False) == ["robot.h"]
    assert generate.stale(write=True) == ["robot.h"]
    assert generate.stale(write=False) == []


def test_check_of_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "CORE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 1
    assert "out of date: protocol.h, protocol.c, robot.h" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generate.main() == 0
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("compiler", ["cc", "arm-none-eabi-gcc"])
def test_core_compiles_without_warnings_and_without_a_hal(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    flags = "-std=c11 -O2 -Wall -Wextra -Werror -Wpedantic -Wdouble-promotion -Wconversion -Wshadow"
    sources = [str(p) for p in sorted(generate.CORE.glob("*.c")) if p.name != "firmware.c"]
    subprocess.run(
        [compiler, *flags.split(), f"-I{generate.CORE}", "-c", *sources], cwd=tmp_path, check=True
    )
