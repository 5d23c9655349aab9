"""Building and binding the firmware as users do."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from robot_firmware_bridge.errors import CompileError
from robot_firmware_bridge.firmware.library import (
    ROOT,
    FirmwareBoard,
    Sensors,
    build_library,
    sources_digest,
)
from robot_firmware_bridge.limits import LIMITS

BUILD = "from robot_firmware_bridge.firmware.library import build_library; print(build_library())"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_users_build_runs(cache):
    board, sensors = FirmwareBoard(), Sensors()
    board.start(boot_count=1)
    drive = board.tick(1000, sensors)
    assert not drive.enabled
    assert drive.duty.shape == (8,)
    assert board.tick(2000, sensors) is drive
    assert board.transmit() == b""


def test_nothing_of_the_core_can_be_confused_with_another_library(cache):
    """A Python that brings zlib has a ``crc32`` of its own, which must not become the core's."""
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", build_library()], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert {"port_start", "port_tick", "probe_encode"} <= names
    assert [name for name in names if not name.startswith(("port_", "probe_"))] == []


def test_built_once(cache):
    library = build_library()
    changed_ns = library.stat().st_mtime_ns
    assert build_library() == library
    assert library.stat().st_mtime_ns == changed_ns
    assert build_library(sanitize="undefined") != library


def test_a_firmware_is_known_by_its_sources_wherever_they_lie(tmp_path, monkeypatch):
    digest, copy = sources_digest(), tmp_path / "firmware"
    shutil.copytree(ROOT, copy)
    monkeypatch.setattr("robot_firmware_bridge.firmware.library.ROOT", copy)
    assert sources_digest() == digest
    source = copy / "core" / "firmware.c"
    source.write_bytes(source.read_bytes() + b"\n")
    assert sources_digest() != digest


def test_the_builds_used_last_are_kept_and_nothing_else_is_touched(cache):
    library = build_library()
    folder = library.parent.parent
    for age_s in range(1, 31):
        old = folder / f"{age_s:024x}"
        old.mkdir()
        os.utime(old, (1e9 - age_s, 1e9 - age_s))
    (folder / "tmp_of_another").mkdir()
    os.utime(library.parent, (1e8, 1e8))
    assert build_library() == library  # used again: the newest, though built long ago
    assert len(list(folder.iterdir())) == 32
    other = build_library(sanitize="undefined")
    kept = {f"{age_s:024x}" for age_s in range(1, 11)}
    kept |= {library.parent.name, other.parent.name, "tmp_of_another"}
    assert {path.name for path in folder.iterdir()} == kept
    assert library.exists()


def test_two_processes_at_once(cache):
    children = [
        subprocess.Popen([sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(paths) == 1
    (folder,) = (cache / "minitaur-firmware").iterdir()  # and no scratch was left
    assert [path.name for path in folder.iterdir()] == ["firmware.so"]


def test_no_compiler(cache, monkeypatch):
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(CompileError, match=r"no C compiler `cc`; get one .*apt-get install"):
        build_library()


def test_a_compiler_that_fails(cache, monkeypatch):
    compiler = cache / "cc"
    compiler.write_text(
        "#!/bin/sh\necho 'x.c:1: note: look' >&2\necho 'error: no memory' >&2\nexit 1"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cache}:{os.environ['PATH']}")
    with pytest.raises(CompileError, match=r"cannot compile the .* controller: error: no memory"):
        build_library()


def test_without_a_home_that_can_be_written_a_temporary_folder_is_the_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    library = build_library()
    assert library.parents[1] == tmp_path / f"minitaur-{os.getuid()}" / "firmware"
    assert build_library() == library


def test_a_library_that_others_could_have_put_there_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = build_library().parents[2]
    own.chmod(0o777)
    with pytest.raises(CompileError, match="not a folder that this user alone can write; "):
        build_library()


def test_a_library_in_a_home_that_cannot_be_written_is_used(cache):
    library = build_library()
    for folder in (library.parent, library.parents[1]):
        folder.chmod(0o555)
    assert build_library() == library


def test_battery_and_housings_reach_the_firmware_in_their_places(bench):
    """The others: see ``test_a_state_tells_what_the_sensors_read`` in test_session.py."""
    bench.hello()
    sensors = bench.sensors
    sensors.battery_v = 14.0
    assert sensors.battery_v == 14.0
    bench.tick()
    assert bench.state.battery_v == pytest.approx(14.0)
    # A winding goes after its housing with one time constant.
    sensors.housing_temperature_c[:] = 30.0 + 5.0 * np.arange(8)
    bench.tick(round(500 * LIMITS.winding_j_per_k * LIMITS.winding_k_per_w))
    wanted = 25.0 + (5.0 + 5.0 * np.arange(8)) * (1.0 - np.exp(-0.5))
    np.testing.assert_allclose(bench.state.winding_temperature_c, wanted, atol=0.6)
