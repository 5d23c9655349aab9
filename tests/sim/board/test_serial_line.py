"""A line takes its time, keeps the order and has its faults; its port can be pulled."""

import os
import random
import time

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from sim.board.serial_line import LineFaults, OneWay, PtyError, PtyPort, SerialLine
from sim.errors import ParameterError

US, MS = 1_000, 1_000_000
BAUD = 100_000  # ten bits a byte: 100 us each


def one_way(baud=BAUD, seed=0, **faults):
    return OneWay(baud, LineFaults(**faults), random.Random(seed))


def test_each_byte_takes_ten_bits():
    line = one_way()
    line.send(b"abc", 5 * MS)
    assert line.receive(5 * MS + 99 * US) == b""
    assert line.receive(5 * MS + 100 * US) == b"a"
    assert line.receive(5 * MS + 299 * US) == b"b"
    assert line.receive(5 * MS + 300 * US) == b"c"
    assert line.receive(9 * MS) == b""


def test_bytes_wait_for_those_before_them():
    line = one_way()
    line.send(b"abc", 0)
    line.send(b"d", 50 * US)  # the line is busy until 300 us
    assert line.queued == 4
    assert line.receive(399 * US) == b"abc"
    assert line.receive(400 * US) == b"d"
    assert line.queued == 0
    line.send(b"e", 1 * MS)  # and idle by now
    assert line.receive(1 * MS + 100 * US) == b"e"


def test_a_state_frame_at_921600_baud_takes_its_millisecond():
    line = one_way(921_600)
    line.send(bytes(88), 0)
    assert len(line.receive(954_861)) == 87  # 880 bits / 921600 = 954.861 us and a bit
    assert len(line.receive(954_862)) == 1


def test_delay_moves_every_byte_and_keeps_the_order():
    line = one_way(delay_ns=10 * MS)
    line.send(b"ab", 0)
    assert line.receive(10 * MS + 99 * US) == b""
    assert line.receive(10 * MS + 100 * US) == b"a"


def test_bytes_sent_after_a_delay_has_ended_do_not_overtake():
    faults = LineFaults(delay_ns=10 * MS)
    line = OneWay(BAUD, faults, random.Random(0))
    line.send(b"a", 0)
    faults.delay_ns = 0
    line.send(b"b", 1 * MS)
    assert line.receive(5 * MS) == b""
    assert line.receive(10 * MS + 100 * US) == b"ab"


def test_a_stall_holds_back_and_then_delivers_at_once():
    line = one_way()
    line.send(b"ab", 0)
    line.stall(20 * MS)
    line.send(b"c", 10 * MS)
    assert line.receive(20 * MS - 1) == b""
    assert line.receive(20 * MS) == b"abc"


def test_an_adapter_holds_bytes_for_the_host_only():
    line = SerialLine(BAUD)
    line.faults.hold_ns = 16 * MS
    for way in (line.to_host, line.to_board):
        way.send(b"ab", 15 * MS)
        way.send(b"c", 15 * MS + 500 * US)
    assert line.to_board.receive(16 * MS - 1) == b"abc"
    assert line.to_host.receive(16 * MS - 1) == b""
    assert line.to_host.receive(16 * MS) == b"abc"
    line.to_host.send(b"d", 16 * MS)
    assert line.to_host.receive(32 * MS - 1) == b""
    line.faults.hold_ns = 0
    assert line.to_host.receive(32 * MS - 1) == b"d"


def test_chunks_come_twice_or_change_places():
    line = one_way(repeat=1.0)
    line.send(b"ab", 0)
    assert line.receive(1 * MS) == b"abab"
    line = one_way(swap=1.0)
    for chunk in (b"ab", b"cd", b"ef"):
        line.send(chunk, 0)
    assert line.receive(1 * MS) == b"cdab"  # and the third waits for a fourth
    line.clear()
    line.send(b"g", 0)
    line.send(b"h", 0)
    assert line.receive(1 * MS) == b"hg"


def test_clear_loses_what_is_under_way():
    line = one_way()
    line.send(b"abc", 0)
    line.clear()
    line.send(b"d", 0)
    assert line.receive(1 * MS) == b"d"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [({"drop": 1.0}, b""), ({"duplicate": 1.0}, b"aabb"), ({}, b"ab")],
)
def test_certain_faults(faults, expected):
    line = one_way(**faults)
    line.send(b"ab", 0)
    assert line.receive(1 * MS) == expected


def test_a_flip_turns_exactly_one_bit():
    line = one_way(flip=1.0)
    sent = bytes(range(256))
    line.send(sent, 0)
    arrived = line.receive(1_000 * MS)
    assert {(a ^ b).bit_count() for a, b in zip(sent, arrived, strict=True)} == {1}
    assert len({a ^ b for a, b in zip(sent, arrived, strict=True)}) == 8


def test_faults_have_their_rate():
    line = one_way(drop=0.1)
    line.send(bytes(20_000), 0)
    assert len(line.receive(10**12)) == pytest.approx(18_000, abs=150)


def test_the_same_seed_hits_the_same_bytes_and_each_direction_its_own():
    def walk(seed):
        line = SerialLine(BAUD, seed)
        line.faults.drop = 0.5
        for way in (line.to_board, line.to_host):
            way.send(bytes(range(100)), 0)
        return line.to_board.receive(10**12), line.to_host.receive(10**12)

    assert walk(1) == walk(1)
    assert walk(1)[0] != walk(2)[0]
    assert walk(1)[0] != walk(1)[1]


def test_both_ways_stall_and_clear_together():
    line = SerialLine(BAUD)
    for way in (line.to_board, line.to_host):
        way.send(b"a", 0)
    line.stall(10 * MS)
    assert line.to_board.receive(9 * MS) == line.to_host.receive(9 * MS) == b""
    line.clear()
    assert line.to_board.receive(10 * MS) == line.to_host.receive(10 * MS) == b""


@pytest.mark.parametrize("baud", [0, -9600])
def test_an_impossible_baud_rate_is_refused(baud):
    with pytest.raises(ParameterError, match="must be positive"):
        SerialLine(baud)


@given(
    chunks=st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 3 * MS)), max_size=10),
    looks=st.lists(st.integers(0, 40 * MS), max_size=10),
    baud=st.sampled_from([9_600, 115_200, 921_600, 2_000_000]),
)
def test_whenever_one_looks_nothing_is_lost_reordered_or_early(chunks, looks, baud):
    line = one_way(baud)
    t_ns = 0
    for data, pause_ns in chunks:
        t_ns += pause_ns
        line.send(data, t_ns)
    sent = b"".join(data for data, _ in chunks)
    arrived = b""
    for look_ns in sorted(looks):
        arrived += line.receive(look_ns)
        assert len(arrived) <= look_ns * baud / 10e9  # no more than the line can carry
    arrived += line.receive(10**12)
    assert arrived == sent


# The port.


@pytest.fixture
def port(tmp_path):
    port = PtyPort(tmp_path / "port")
    yield port
    port.unplug()


def receive(port, count):
    """The kernel passes bytes on when it gets round to it."""
    data, end_s = b"", time.monotonic() + 10
    while len(data) < count and time.monotonic() < end_s:
        data += port.read()
    return data


def greet(port, data=b"hello"):
    """Open the port as a host does, and pass bytes both ways."""
    with serial.Serial(str(port.path), 921600, timeout=10) as host:
        host.write(data)
        assert receive(port, len(data)) == data
        assert port.write(data)
        assert host.read(len(data)) == data


def test_every_byte_passes_both_ways_unchanged(port):
    greet(port, bytes(range(256)))


def test_nothing_to_read_is_no_reason_to_wait(port):
    assert port.read() == b""


def test_unread_bytes_are_lost_and_the_newest_stay(port):
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
    greet(port)


def test_one_host_after_another(port):
    for _ in range(3):
        greet(port)
        assert port.read() == b""


def test_closed_it_leaves_nothing_behind(tmp_path):
    port = PtyPort(tmp_path / "port")
    port.unplug()
    port.unplug()
    assert list(tmp_path.iterdir()) == []


def test_a_link_left_by_a_board_that_was_killed_is_replaced(tmp_path):
    (tmp_path / "port").symlink_to("/dev/pts/no-such-terminal")
    port = PtyPort(tmp_path / "port")
    assert os.readlink(port.path).startswith("/dev/")
    assert port.path.exists()
    port.unplug()


def test_another_boards_link_is_not_removed(tmp_path):
    first, second = PtyPort(tmp_path / "port"), PtyPort(tmp_path / "port")
    first.unplug()
    assert second.path.exists()
    second.unplug()


def test_what_is_in_the_way_is_not_overwritten(tmp_path):
    path = tmp_path / "port"
    path.write_text("precious")
    with pytest.raises(PtyError, match="in the way"):
        PtyPort(path)
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PtyError, match="absent"):
        PtyPort(tmp_path / "absent" / "port")
