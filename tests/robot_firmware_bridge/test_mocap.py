"""A pose published in one place is read in another, whole or not at all."""

import contextlib
import multiprocessing
import os
import time

import numpy as np
import pytest

from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.mocap import MocapError, MocapReader, MocapWriter

POSITION = np.array((1.5, -0.25, 0.26))
QUATERNION = np.array((0.0, 0.6, 0.0, 0.8))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "truth"


@pytest.fixture
def writer(path):
    writer = MocapWriter(path)
    yield writer
    writer.close()


def test_the_newest_pose_is_read(writer, path):
    reader = MocapReader(path)
    writer.write(1, np.zeros(3), QUATERNION)
    writer.write(2**62 + 1, POSITION, QUATERNION)
    pose = reader.read()
    assert pose.t_ns == 2**62 + 1
    np.testing.assert_array_equal(pose.position_m, POSITION)
    np.testing.assert_array_equal(pose.quaternion, QUATERNION)
    reader.close()
    reader.close()


def test_no_tracker_publishes(path):
    with pytest.raises(MocapError, match="start the tracker first"):
        MocapReader(path)
    path.write_bytes(b"")  # and an empty file is not a pose either
    with pytest.raises(BridgeError, match="start the tracker first"):
        MocapReader(path)


def test_no_pose_yet(writer, path):
    with pytest.raises(MocapError, match="no whole pose"):
        MocapReader(path).read()


def test_half_a_pose_is_none(writer, path):
    writer.write(1, POSITION, QUATERNION)
    reader = MocapReader(path)
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"\x01")
    with pytest.raises(MocapError, match="no whole pose"):
        reader.read()


def test_a_writer_started_anew_leaves_old_readers_their_file(writer, path):
    writer.write(1, POSITION, QUATERNION)
    reader = MocapReader(path)
    second = MocapWriter(path)
    second.write(2, POSITION, QUATERNION)
    assert reader.read().t_ns == 1
    assert MocapReader(path).read().t_ns == 2
    second.close()


def test_closing_removes_the_file_and_may_be_repeated(path):
    writer = MocapWriter(path)
    writer.close()
    writer.close()
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(MocapError, match="absent"):
        MocapWriter(tmp_path / "absent" / "truth")


def _publish(path, ready, stop):
    writer = MocapWriter(path)
    count = 0
    while not stop.is_set():
        count += 1
        writer.write(count, np.full(3, float(count)), np.full(4, float(count)))
        ready.set()
    writer.close()


def test_no_reader_sees_two_poses_in_one_while_another_process_writes(path):
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_publish, args=(path, ready, stop))
    process.start()
    try:
        assert ready.wait(60)
        reader = MocapReader(path)
        seen = set()
        end_s = time.monotonic() + 60
        while len(seen) < 2000 and time.monotonic() < end_s:
            with contextlib.suppress(MocapError):  # the writer lost its turn in the middle of one
                pose = reader.read()
                seen.add(pose.t_ns)
                assert {*pose.position_m, *pose.quaternion} == {float(pose.t_ns)}
    finally:
        stop.set()
        process.join()
    assert len(seen) == 2000


def test_what_is_no_file_of_poses_stays_as_it_is(tmp_path):
    """A device or a pipe would be replaced by a file, and removed at the end."""
    pipe, text = tmp_path / "pipe", tmp_path / "text"
    os.mkfifo(pipe)
    text.write_text("mine")
    for path in (pipe, text, tmp_path):
        with pytest.raises(MocapError, match="something else is there"):
            MocapWriter(path)
    assert pipe.is_fifo()
    assert text.read_text() == "mine"
