"""Boards that reset, links that break, and boards that are not the right one."""

from __future__ import annotations

import dataclasses

import pytest

from robot_firmware_bridge.errors import (
    BoardResetError,
    LinkLostError,
    MismatchError,
    NoBoardError,
)
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Identity, Request, encode
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.robot import SerialRobot

MS = 1_000_000


def test_a_board_that_started_anew_is_not_commanded(walking, bench, command):
    bench.boot(8)
    bench.run(200)
    with pytest.raises(BoardResetError, match="on bench started anew: check its supply"):
        walking.read()
    count = len(bench.told(Command))
    walking.write(command)
    assert len(bench.told(Command)) == count
    walking.deactivate()
    assert walking.read().mode is Mode.DISARMED
    assert walking.counters.board_resets == 1
    walking.activate()
    bench.walk(walking, 3)
    assert walking.read().mode is Mode.ACTIVE


def test_a_write_notices_a_board_that_started_anew(walking, bench, command):
    bench.boot(8)
    bench.run(200)
    with pytest.raises(BoardResetError):
        walking.write(command)


def test_a_reset_of_a_robot_at_rest_is_no_matter(robot, bench):
    bench.boot(8)
    bench.run(200)
    assert robot.read().mode is Mode.DISARMED
    robot.activate()


def test_a_lost_link_is_told_and_what_comes_back_is_not_commanded(walking, bench):
    bench.cut()
    with pytest.raises(LinkLostError):
        walking.read()
    bench.run(300)
    bench.mend()
    bench.run(50)
    count = len(bench.told(Command))
    bench.walk(walking, 3)
    assert len(bench.told(Command)) == count
    walking.deactivate()
    state = walking.read()
    assert (state.mode, state.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)
    assert {message.action for message in bench.told(Request)} == {Action.ARM, Action.DISARM}
    assert walking.counters.reconnects == 1


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_link_that_was_away_for_a_moment_is_not_commanded_as_if_nothing_were(
    walking, bench, call, command
):
    bench.cut()
    bench.mend()
    bench.run(20)
    with pytest.raises(LinkLostError, match="the board on bench was away: arm it again"):
        walking.read() if call == "read" else walking.write(command)
    count = len(bench.told(Command))
    walking.write(command)
    assert len(bench.told(Command)) == count


def test_a_write_into_a_cut_link(walking, bench, command):
    bench.cut()
    with pytest.raises(LinkLostError):
        walking.write(command)
    walking.deactivate()


def test_a_robot_whose_board_was_swapped_is_not_armed(robot, bench):
    bench.rewrite = identities(robot_hash=5)
    bench.session.reconnected()
    with pytest.raises(MismatchError):
        robot.activate()
    assert bench.told(Request) == []


def identities(**changes):
    """A rewrite that changes what the board says that it is."""
    decoder = Decoder()

    def rewrite(data):
        messages = decoder.feed(data)
        return b"".join(
            encode(m._replace(**changes) if isinstance(m, Identity) else m) for m in messages
        )

    return rewrite


def test_a_board_of_another_protocol_is_refused(bench):
    bench.rewrite = identities(protocol_hash=5)
    with pytest.raises(
        MismatchError, match=r"speaks protocol 0000000000000005, .*reflash"
    ) as caught:
        SerialRobot(bench)
    assert "\n" not in str(caught.value)
    assert bench.is_closed


def test_a_board_of_another_robot_is_refused(bench):
    other = dataclasses.replace(MINITAUR, name="rainbow")
    with pytest.raises(MismatchError, match=r"not for rainbow .*: reflash the board"):
        SerialRobot(bench, other)
    assert bench.is_closed


def test_nothing_at_all_on_the_line(bench):
    bench.rewrite = lambda data: b""
    with pytest.raises(NoBoardError, match="no board answers on bench, not a byte came: is it pow"):
        SerialRobot(bench)
    assert bench.is_closed
    assert len(bench.told(Hello)) == 10


def test_something_else_on_the_line(bench):
    bench.rewrite = lambda data: b"$GPGGA,\x00" if bench.now_ns() < 10 * MS else b""
    with pytest.raises(
        NoBoardError, match="72 bytes came, with 0 good frames; is this the board's"
    ):
        SerialRobot(bench)


def test_a_board_that_sends_no_states(bench):
    with pytest.raises(NoBoardError, match="said who it is, but sends no state"):
        SerialRobot(bench, state_interval_ms=0)
