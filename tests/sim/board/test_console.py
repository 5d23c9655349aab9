"""Orders are carried out as meant, or refused in one clear line."""

import json
import os
import time
from unittest.mock import Mock, call

import pytest

from sim.board.console import VERBS, Console, ConsoleError, help_lines, parse_scheduled
from sim.board.console import parse_order as parse
from sim.board.serial_line import LineFaults, SerialLine
from sim.errors import SimError

MS = 1_000_000


@pytest.fixture
def bench():
    """Return what remembers every call to a board, to its plant and to its port."""
    return Mock(line=SerialLine(921_600), t_ns=5 * MS)


class Terminal:
    """Both ends of the console: type here, read there."""

    def __init__(self):
        self.source, keys = os.pipe()
        self.keys = os.fdopen(keys, "wb", buffering=0)
        self._screen, self.sink = os.pipe()

    def events(self):
        os.write(self.sink, b"mark\n")
        data = b""
        while not data.endswith(b"mark\n"):
            data += os.read(self._screen, 65536)
        events = [json.loads(line) for line in data.splitlines()[:-1]]
        self.at_ns = [event.pop("at_ns") for event in events]
        return events

    def close(self):
        self.keys.close()
        for fd in (self.source, self._screen, self.sink):
            os.close(fd)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def console(bench, terminal):
    return lambda *schedule: Console(bench, schedule, terminal.source, terminal.sink)


@pytest.mark.parametrize(
    ("line", "done"),
    [
        ("unplug", call.port.unplug()),
        ("replug", call.port.plug()),
        ("reset", call.reset()),
        ("quit", call.quit()),
        ("freeze-imu", call.plant.freeze_imu()),
        ("thaw-imu", call.plant.thaw_imu()),
        ("encoder-jump 3 -0.75", call.plant.slip_encoder(3, -0.75)),
        ("battery 12.5", call.plant.read_battery(12.5)),
        ("heat 7 95", call.plant.heat(7, 95.0)),
        ("cool", call.plant.cool()),
        ("clock-drift -1e6", call.let_clock_drift(-1e6)),
        ("clock-jump 2.5", call.let_clock_jump(2.5)),
    ],
)
def test_orders_reach_what_they_are_for(bench, line, done):
    parse(line).act(bench)
    assert bench.mock_calls == [done]


def test_orders_for_the_line(bench):
    orders = ("drop 0.1", "flip 0.2", "duplicate 0.3", "repeat 0.4", "swap 0.5", "delay 4.5")
    for line in (*orders, "hold 16", "stall 20"):
        parse(line).act(bench)
    faults = bench.line.faults
    assert faults == LineFaults(0.1, 0.2, 0.3, 4_500_000, 0.4, 0.5, 16_000_000)
    for line in orders:
        parse(f"{line.split()[0]} 0").act(bench)
    parse("hold 0").act(bench)
    assert faults == LineFaults()
    bench.line.to_host.send(b"a", 5 * MS)
    assert bench.line.to_host.receive(25 * MS - 1) == b""
    assert bench.line.to_host.receive(25 * MS) == b"a"


def test_unplugged_the_line_loses_what_is_under_way(bench):
    bench.line.to_board.send(b"a", 0)
    parse("unplug").act(bench)
    assert bench.line.to_board.receive(1_000 * MS) == b""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("explode", "no order 'explode': there are help, unplug"),
        ("", "no order ''"),
        ("drop", "drop takes 1 numbers: drop P"),
        ("drop 0.1 0.2", "drop takes 1 numbers: drop P"),
        ("drop 1.5", r"P must be a number in \[0, 1\], not '1.5'"),
        ("drop nan", r"P must be a number in \[0, 1\], not 'nan'"),
        ("drop much", r"P must be a number in \[0, 1\], not 'much'"),
        ("stall -1", r"MS must be a number in \[0, 60000\]"),
        ("heat 8 90", r"MOTOR must be a whole number in \[0, 7\], not '8'"),
        ("heat 1.5 90", r"MOTOR must be a whole number in \[0, 7\], not '1.5'"),
        ("encoder-jump 0 inf", r"RAD must be a number in \[-10, 10\], not 'inf'"),
    ],
)
def test_what_is_no_order_is_refused_with_the_cure(line, message):
    with pytest.raises(ConsoleError, match=message):
        parse(line)


def test_appointments():
    t_ns, order = parse_scheduled(" 2.5 drop 0.1")
    assert (t_ns, order.text) == (2_500 * MS, "drop 0.1")
    for text in ("drop 0.1", "-1 quit", "2.5"):
        with pytest.raises(ConsoleError):
            parse_scheduled(text)


def test_every_verb_is_in_the_help():
    assert [line.split()[0] for line in help_lines()] == list(VERBS)


def test_the_schedule_is_kept_in_order_of_time(bench, terminal, console):
    desk = console("0.007 reset", "0.006 freeze-imu", "0.006 thaw-imu")
    desk.poll()
    assert bench.mock_calls == []
    bench.t_ns = 6 * MS
    desk.poll()
    assert bench.mock_calls == [call.plant.freeze_imu(), call.plant.thaw_imu()]
    bench.t_ns = 100 * MS
    desk.poll()
    desk.poll()
    assert bench.mock_calls[2:] == [call.reset()]
    assert terminal.events()[0] == {"t_s": 0.006, "event": "order", "order": "freeze-imu"}


def test_events_tell_when_they_were_on_the_clock_of_this_computer(terminal, console):
    before_ns = time.monotonic_ns()
    desk = console("0 cool", "0 cool")
    desk.poll()
    terminal.events()
    assert before_ns <= terminal.at_ns[0] <= terminal.at_ns[1] <= time.monotonic_ns()


def test_a_wrong_schedule_is_refused_at_once(console):
    with pytest.raises(ConsoleError, match="P must be"):
        console("1 drop 2")


def test_typed_lines_are_carried_out_once_whole(bench, terminal, console):
    desk = console()
    terminal.keys.write(b"res")
    desk.poll()
    assert bench.mock_calls == []
    terminal.keys.write(b"et\n\nnonsense\nqui")
    desk.poll()
    terminal.keys.write(b"t\n")
    desk.poll()
    assert bench.mock_calls == [call.reset(), call.quit()]
    events = terminal.events()
    assert [event["event"] for event in events] == ["order", "refused", "order"]
    assert "no order 'nonsense'" in events[1]["reason"]


def test_help_is_printed(terminal, console):
    desk = console()
    terminal.keys.write(b"help\n")
    desk.poll()
    assert len(terminal.events()) == len(VERBS)


def test_the_end_of_the_input_ends_nothing_but_the_input(bench, terminal, console):
    desk = console("0.006 reset")
    terminal.keys.close()
    desk.poll()
    bench.t_ns = 6 * MS
    desk.poll()
    assert bench.mock_calls == [call.reset()]


def test_an_order_that_cannot_be_carried_out_is_refused(bench, terminal, console):
    bench.reset.side_effect = SimError("the folder is gone")
    console("0 reset").poll()
    assert terminal.events() == [{"t_s": 0.005, "event": "refused", "reason": "the folder is gone"}]


def test_without_a_reader_nothing_waits(console):
    desk = console()
    for _ in range(5_000):  # far more than a pipe holds
        desk.event("mode", mode="DAMPING", fault="COMMAND_TIMEOUT")


def test_whoever_listened_is_gone(bench):
    source, sink = os.pipe()
    os.close(source)
    Console(bench, (), source, sink).event("boot")
    os.close(sink)
