"""The gamepad: packed events through a FIFO, alone and under the real loop on virtual time."""

import dataclasses
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.command_sources import open_command
from deploy.errors import RunError
from deploy.gamepad import (
    BEFORE_BUTTON,
    DEAD_ZONE,
    END_BUTTON,
    HOLD_BUTTON,
    NEXT_BUTTON,
    SPEED_AXIS,
    STAND_BUTTON,
    YAW_RATE_AXIS,
    Gamepad,
    find_gamepad,
)
from deploy.loop.modes import LoopMode
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.steering import STAND, Choosable

SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)
ONE = [Choosable("steer", SPEC)]
BUTTON, AXIS, STATE = 1, 2, 0x80
FULL = 32767


def event(kind, number, value):
    return struct.pack("=IhBB", 12345, value, kind, number)


def button(number, pressed=1):
    return event(BUTTON, number, pressed)


def stick(axis, part):
    return event(AXIS, axis, round(part * FULL))


HOLD, RELEASE = button(HOLD_BUTTON), button(HOLD_BUTTON, 0)
AHEAD, LEFT = stick(SPEED_AXIS, -1.0), stick(YAW_RATE_AXIS, -1.0)


class Pad:
    """A FIFO, and who writes a gamepad's events into it."""

    def __init__(self, folder):
        self.path = Path(folder) / "js0"
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def send(self, *events):
        os.write(self.fd, b"".join(events))

    def unplug(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@pytest.fixture
def pad(tmp_path):
    pad = Pad(tmp_path)
    yield pad
    pad.unplug()


def ask(gamepad):
    """Ask as the loop does in a tick."""
    steering = gamepad.poll()
    return steering, gamepad.requested(0.0)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([AHEAD], (0.8, 0.0)),
        ([stick(SPEED_AXIS, 1.0)], (-0.2, 0.0)),
        ([LEFT], (0.0, 0.5)),
        ([stick(YAW_RATE_AXIS, 1.0)], (0.0, -0.5)),
        ([event(AXIS, SPEED_AXIS, -32768), event(AXIS, YAW_RATE_AXIS, -32768)], (0.8, 0.5)),
        ([stick(SPEED_AXIS, -DEAD_ZONE), stick(YAW_RATE_AXIS, DEAD_ZONE)], STOP),
        # Half of the way from the dead zone's edge to the end.
        ([stick(SPEED_AXIS, -0.5 * (1.0 + DEAD_ZONE))], (0.4, 0.0)),
        ([stick(0, 1.0), stick(2, -1.0), stick(4, 1.0), button(4), button(7)], STOP),
        ([AHEAD, stick(SPEED_AXIS, 0.0)], STOP),
    ],
)
def test_the_sticks_count_while_the_button_is_held(pad, events, expected):
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        pad.send(*events)
        assert ask(gamepad)[1] == STOP
        pad.send(HOLD)
        steering, velocity = ask(gamepad)
        assert velocity == pytest.approx(expected, abs=1e-4)
        assert SPEC.clip(*velocity) == velocity
        assert (steering.stops, steering.lost) == (0, None)
        pad.send(RELEASE)
        assert ask(gamepad)[1] == STOP
        pad.send(HOLD, RELEASE)  # both within a tick
        assert ask(gamepad)[1] == STOP


def test_what_is_held_when_the_device_is_opened_counts(pad):
    """Linux sends the state of all buttons and axes first."""
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        state = [event(BUTTON | STATE, number, int(number == HOLD_BUTTON)) for number in range(11)]
        state += [event(AXIS | STATE, number, -FULL) for number in range(8)]
        pad.send(*state)
        assert ask(gamepad)[1] == pytest.approx((0.8, 0.5))


def test_presses_of_the_end_button_are_stop_requests(pad):
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        pad.send(event(BUTTON | STATE, END_BUTTON, 1), button(END_BUTTON, 0))
        assert ask(gamepad)[0].stops == 0  # it was pressed before the run
        pad.send(button(END_BUTTON), button(END_BUTTON))
        assert ask(gamepad)[0].stops == 1  # one press, reported twice
        pad.send(button(END_BUTTON, 0), button(END_BUTTON))
        assert ask(gamepad)[0].stops == 2


def test_an_event_that_comes_in_pieces_is_one_event(pad):
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        whole = HOLD + AHEAD
        for at in range(len(whole)):
            assert ask(gamepad)[1] == STOP
            pad.send(whole[at : at + 1])
        assert ask(gamepad) == (ask(gamepad)[0], pytest.approx((0.8, 0.0)))


def test_without_an_event_nobody_waits_and_nothing_is_requested(pad):
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        steering, velocity = ask(gamepad)
        assert (steering.stops, steering.lost, velocity) == (0, None, STOP)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (None, "is gone"),
        (bytes(8), "sends what no gamepad sends"),  # no kind
        (event(3, 1, 0), "sends what no gamepad sends"),  # both kinds
        (event(BUTTON, 3, 2), "sends what no gamepad sends"),  # pressed twice over
        (event(AXIS, 64, 0), "sends what no gamepad sends"),
        (AHEAD * 2000, "sends what no gamepad sends"),  # faster than anybody's thumb
    ],
)
def test_a_pad_that_is_gone_or_sends_garbage_requests_zero_for_good(pad, last, said):
    gamepad = Gamepad(ONE, pad.path)
    with gamepad.listen():
        pad.send(HOLD, AHEAD)
        assert ask(gamepad)[1] == pytest.approx((0.8, 0.0))
        pad.unplug() if last is None else pad.send(last)
        steering, velocity = ask(gamepad)
        assert said in steering.lost
        assert str(pad.path) in steering.lost
        assert velocity == STOP
        if last is not None:
            pad.send(RELEASE, HOLD, AHEAD)
        assert ask(gamepad) == (steering, STOP)


def test_a_device_that_ends_is_gone():
    gamepad = Gamepad(ONE, Path("/dev/null"))
    with gamepad.listen():
        assert ask(gamepad)[0].lost == "the gamepad /dev/null is gone"


EVENTS = st.builds(
    event,
    st.sampled_from([BUTTON, AXIS, BUTTON | STATE, AXIS | STATE]) | st.integers(0, 255),
    st.sampled_from([SPEED_AXIS, YAW_RATE_AXIS, HOLD_BUTTON, END_BUTTON]) | st.integers(0, 255),
    st.sampled_from([0, 1]) | st.integers(-32768, 32767),
)


@given(st.lists(st.lists(EVENTS | st.binary(max_size=20), max_size=6), max_size=8))
def test_whatever_is_sent_it_never_raises_nor_asks_for_more_than_was_trained(readings):
    with tempfile.TemporaryDirectory() as folder:
        pad = Pad(folder)
        gamepad = Gamepad(SEVERAL, pad.path)
        with gamepad.listen():
            stops, lost, sent = 0, False, 0
            for reading in readings:
                pad.send(*reading)
                sent += len(b"".join(reading))
                steering, velocity = ask(gamepad)
                assert SPEC.clip(*velocity) == velocity
                assert steering.stops >= stops
                assert not (lost and steering.lost is None)
                stops, lost = steering.stops, steering.lost is not None
                if lost:
                    assert velocity == STOP
                assert STAND <= steering.choice < len(SEVERAL)
            pad.send(bytes(-sent % 8), RELEASE)  # whatever was begun is completed before
            assert ask(gamepad)[1] == STOP
        pad.unplug()


SEVERAL = [Choosable("walk", SPEC), Choosable("trot", None), Choosable("steer", SPEC)]


def test_buttons_choose_a_policy(pad):
    gamepad = Gamepad(SEVERAL, pad.path)
    assert "2 trot (cannot be steered)" in gamepad.instructions
    with gamepad.listen():
        pad.send(HOLD, AHEAD)
        for number, choice, speed in (
            (NEXT_BUTTON, 1, 0.0),
            (NEXT_BUTTON, 2, 0.8),
            (NEXT_BUTTON, 0, 0.8),
            (BEFORE_BUTTON, 2, 0.8),
            (STAND_BUTTON, STAND, 0.0),
            (NEXT_BUTTON, 0, 0.8),
            (STAND_BUTTON, STAND, 0.0),
            (BEFORE_BUTTON, 2, 0.8),
        ):
            pad.send(button(number), button(number, 0))
            steering, velocity = ask(gamepad)
            assert (steering.choice, velocity) == (choice, pytest.approx((speed, 0.0)))


def test_a_policy_that_cannot_be_told_to_stop_works_only_while_the_button_is_held(pad):
    gamepad = Gamepad(SEVERAL[1:], pad.path)
    with gamepad.listen():
        assert ask(gamepad)[0].choice == STAND
        pad.send(button(NEXT_BUTTON), button(NEXT_BUTTON, 0))
        assert ask(gamepad)[0].choice == STAND
        pad.send(HOLD, button(NEXT_BUTTON))
        assert ask(gamepad)[0].choice == 0
        pad.send(RELEASE)
        assert ask(gamepad)[0].choice == STAND
        pad.send(HOLD)  # nothing starts by itself
        assert ask(gamepad)[0].choice == STAND


# ---- which device --------------------------------------------------------------------------------


def test_the_one_gamepad_is_found_and_several_are_named(tmp_path):
    with pytest.raises(RunError, match=r"there is no gamepad, .*/js\*: plug one in"):
        find_gamepad(tmp_path)
    (tmp_path / "event0").touch()
    os.mkfifo(tmp_path / "js0")
    assert find_gamepad(tmp_path) == tmp_path / "js0"
    os.mkfifo(tmp_path / "js1")
    with pytest.raises(RunError, match=r"js0, .*js1: name one, --command gamepad:.*/js0"):
        find_gamepad(tmp_path)


def test_the_path_of_a_command_is_opened(pad):
    source = open_command(f"gamepad:{pad.path}", ONE)
    assert str(pad.path) in source.instructions
    assert "-0.2 to 0.8 m/s" in source.instructions


def test_what_is_no_gamepad_is_refused(tmp_path):
    (tmp_path / "js0").touch()
    for name, said in (
        ("js0", "js0 is no gamepad: it is neither a device nor a FIFO"),
        ("", "is no gamepad"),
        ("js1", "cannot read the gamepad .*js1: No such file"),
    ):
        with pytest.raises(RunError, match=said):
            open_command(f"gamepad:{tmp_path / name}", ONE)


def test_without_permission_the_group_to_join_is_named():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "js0"
        os.mkfifo(path)
        path.chmod(0)
        root = os.geteuid() == 0
        try:
            if root:  # who may do all
                os.seteuid(65534)
            with pytest.raises(RunError, match=f"join the group {path.group()} .* log in again"):
                Gamepad(ONE, path)
        finally:
            if root:
                os.seteuid(0)


# ---- under the loop ------------------------------------------------------------------------------

STAND_UP, RUN, FINISH, DAMP = 5, 10, 2, 3


@pytest.fixture
def steer(bench, contract, pad):
    """Runs the loop with a gamepad that does something after some ticks: a tick to an action."""

    def steer(script, slew=1000.0):
        spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), slew, slew)
        gamepad = Gamepad([Choosable("steer", spec)], pad.path)

        def act(tick):
            if (action := script.get(tick.ticks)) is not None:
                action()

        steered = dataclasses.replace(contract, velocity_command=spec)
        b = bench(contract=steered, commands=gamepad, observers=[act])
        with gamepad.listen():
            b.loop.run()
        return b

    return steer


def courses(log):
    return [int((log.mode == mode).sum()) for mode in LoopMode]


def test_a_released_button_is_a_stop_within_two_periods(steer, pad):
    b = steer(
        {
            STAND_UP + 1: lambda: pad.send(HOLD, AHEAD, LEFT),
            STAND_UP + 4: lambda: pad.send(RELEASE),
        }
    )
    command = b.log.velocity_command[b.log.run]
    np.testing.assert_allclose(command[:4], [STOP, (0.8, 0.5), (0.8, 0.5), (0.8, 0.5)])
    np.testing.assert_array_equal(command[4:], np.zeros((RUN - 4, 2)))
    assert b.loop.faults == []
    assert not b.loop.interrupted
    assert courses(b.log)[:4] == [STAND_UP, RUN, FINISH, DAMP]


def test_the_robot_brakes_at_the_contracts_slew_from_that_tick_on(steer, pad):
    b = steer(
        {
            STAND_UP: lambda: pad.send(HOLD, AHEAD),
            STAND_UP + 5: lambda: pad.send(RELEASE),
        },
        slew=10.0,
    )
    speed = b.log.velocity_command[b.log.run][:, 0]
    np.testing.assert_allclose(speed, [0, 0.06, 0.12, 0.18, 0.24, 0.18, 0.12, 0.06, 0, 0])


@pytest.mark.parametrize("end", ["unplugged", "garbage"])
def test_without_a_pad_the_run_ends_gently_like_one_stop_request(steer, pad, end):
    lose = pad.unplug if end == "unplugged" else lambda: pad.send(b"\xff" * 8)
    b = steer({STAND_UP: lambda: pad.send(HOLD, AHEAD), STAND_UP + 4: lose})
    assert courses(b.log)[:4] == [STAND_UP, 4, FINISH, DAMP]
    assert b.log.velocity_command[STAND_UP + 4 :][:FINISH].tolist() == [[0.0, 0.0]] * FINISH
    assert b.loop.interrupted
    assert "js0" in b.loop.steering_lost
    assert b.loop.faults == []
    assert b.robot.events[-1] == "deactivate"


def test_a_pad_that_is_gone_adds_no_second_stop_request(steer, pad):
    b = steer({STAND_UP + 3: lambda: pad.send(button(END_BUTTON)), STAND_UP + 4: pad.unplug})
    assert courses(b.log)[:4] == [STAND_UP, 3, FINISH, DAMP]


def test_the_end_button_ends_gently_and_a_second_press_damps(steer, pad):
    b = steer(
        {
            STAND_UP + 3: lambda: pad.send(button(END_BUTTON), button(END_BUTTON, 0)),
            STAND_UP + 4: lambda: pad.send(button(END_BUTTON)),
        }
    )
    assert courses(b.log)[:4] == [STAND_UP, 3, 1, DAMP]
    assert b.loop.steering_lost is None


def test_a_pad_that_is_gone_while_standing_up_damps(steer, pad):
    b = steer({2: pad.unplug})
    assert courses(b.log)[:4] == [2, 0, 0, DAMP]
