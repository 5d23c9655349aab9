"""What is reported of a board from the bytes on its line."""

import numpy as np
import pytest

from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.wire import Command, Hello, Reply, encode
from sim.board.emulated import Watch

MS = 1_000_000


@pytest.fixture
def reports():
    return []


@pytest.fixture
def watch(reports):
    return Watch(lambda name, **fields: reports.append((name, fields)))


def command(sequence):
    return encode(Command(sequence, 80, 1.0, 0.015, np.full(8, 2.0)))


def reply(mode, fault=Fault.NONE):
    return encode(Reply(1, 1, 0, mode, fault))


def test_a_change_is_reported_once_with_the_time_since_the_last_command(watch, reports):
    watch.see(5 * MS, command(7), b"")
    watch.see(85 * MS, b"", reply(Mode.DAMPING, Fault.COMMAND_TIMEOUT))
    watch.see(86 * MS, b"", reply(Mode.DAMPING, Fault.COMMAND_TIMEOUT))
    assert reports == [
        ("mode", {"mode": "DAMPING", "fault": "COMMAND_TIMEOUT", "since_command_ms": 80.0})
    ]


@pytest.mark.parametrize(
    "received",
    [
        {20: command(7), 50: command(7) + command(6)},  # old ones come again
        {5: command(700), 10: encode(Hello(1, 2, 2, 0)), 20: command(1)},  # a new host
    ],
)
def test_a_command_counts_where_it_is_new(watch, reports, received):
    for t_ms, data in received.items():
        watch.see(t_ms * MS, data, b"")
    watch.see(100 * MS, b"", reply(Mode.DAMPING))
    assert reports[0][1]["since_command_ms"] == 80.0


def test_nothing_is_known_before_the_first_command(watch, reports):
    watch.see(5 * MS, b"", reply(Mode.READY))
    assert reports == [("mode", {"mode": "READY", "fault": "none", "since_command_ms": None})]
