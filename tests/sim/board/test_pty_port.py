"""The port is a serial port to pyserial, and can be pulled and put back."""

import os
import time

import pytest
import serial

from sim.board.pty_port import PtyError, PtyPort


@pytest.fixture
def port(tmp_path):
    port = PtyPort(tmp_path / "port")
    yield port
    port.close()


def receive(port, count):
    """The kernel passes bytes on when it gets round to it."""
    data, end_s = b"", time.monotonic() + 10
    while len(data) < count and time.monotonic() < end_s:
        data += port.read()
    return data


def test_every_byte_passes_both_ways_unchanged(port):
    every = bytes(range(256))
    with serial.Serial(str(port.path), 921600, timeout=10) as host:
        host.write(every)
        assert receive(port, 256) == every
        assert port.write(every)
        assert host.read(256) == every


def test_nothing_to_read_is_no_reason_to_wait(port):
    assert port.read() == b""


def test_bytes_for_nobody_are_lost_and_the_newest_stay(port):
    whole = [port.write(number.to_bytes(4, "big") * 25) for number in range(1_000)]
    assert not all(whole)
    # Opening by pyserial would empty the terminal; by hand, what is in it can be seen.
    fd = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    data, end_s = b"", time.monotonic() + 10
    while not data.endswith((999).to_bytes(4, "big")) and time.monotonic() < end_s:
        try:
            data += os.read(fd, 65536)
        except BlockingIOError:
            continue
    os.close(fd)
    numbers = [int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4)]
    assert numbers[-1] == 999
    assert len(data) < 20_000


def test_pulled_the_host_is_hung_up_on_and_the_path_is_gone(port):
    host = serial.Serial(str(port.path), 921600, timeout=1)
    port.unplug()
    assert not port.plugged
    assert not port.path.is_symlink()
    with pytest.raises(serial.SerialException):
        host.read(1)
    host.close()
    port.unplug()
    assert port.read() == b""
    assert port.write(b"into the void")


def test_put_back_it_is_found_at_the_same_path(port):
    port.unplug()
    port.plug()
    port.plug()
    with serial.Serial(str(port.path), 921600, timeout=10) as host:
        host.write(b"hello")
        assert receive(port, 5) == b"hello"


def test_one_host_after_another(port):
    for _ in range(3):
        with serial.Serial(str(port.path), 921600, timeout=10) as host:
            host.write(b"hello")
            assert receive(port, 5) == b"hello"
        assert port.read() == b""


def test_closed_it_leaves_nothing_behind(tmp_path):
    port = PtyPort(tmp_path / "port")
    port.close()
    port.close()
    assert list(tmp_path.iterdir()) == []


def test_a_link_left_by_a_board_that_was_killed_is_replaced(tmp_path):
    (tmp_path / "port").symlink_to("/dev/pts/no-such-terminal")
    port = PtyPort(tmp_path / "port")
    assert os.readlink(port.path).startswith("/dev/")
    assert port.path.exists()
    port.close()


def test_another_boards_link_is_not_removed(tmp_path):
    first, second = PtyPort(tmp_path / "port"), PtyPort(tmp_path / "port")
    first.close()
    assert second.path.exists()
    second.close()


def test_what_is_in_the_way_is_not_overwritten(tmp_path):
    path = tmp_path / "port"
    path.write_text("precious")
    with pytest.raises(PtyError, match="in the way"):
        PtyPort(path)
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PtyError, match="absent"):
        PtyPort(tmp_path / "absent" / "port")
