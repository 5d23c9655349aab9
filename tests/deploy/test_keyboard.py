"""The keyboard: the keys of a real pseudo terminal."""

import os
import select
import termios

import pytest

from deploy.keyboard import Keyboard
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.steering import STAND, Choosable

SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)
SLOW = VelocityCommandSpec((-0.1, 0.3), (-0.2, 0.2), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)
ONE = [Choosable("steer", SPEC)]


@pytest.fixture
def terminal():
    """A host's end of a pseudo terminal as a text stream, and the descriptor of whoever types."""
    typist, host = os.openpty()
    with open(host, closefd=True) as stream:
        yield stream, typist
    os.close(typist)


def press(typist, keys, stream):
    """Type, and wait until the kernel has carried it over to the host's end."""
    os.write(typist, keys)
    assert select.select([stream], [], [], 30.0)[0]


def requested(keyboard):
    """Ask as the loop does in a tick."""
    assert keyboard.poll().stops == 0
    return keyboard.requested(0.0)


def test_who_steers_is_told_how(terminal):
    stream, _ = terminal
    assert Keyboard(ONE, stream).instructions == (
        "keys: W or up faster, S or down slower (0.1 m/s a press), A or left, D or right turn "
        "(0.1 rad/s a press), space stops, 0 stands; 1 steer (-0.2 to 0.8 m/s, -0.5 to 0.5 rad/s)"
    )


def test_keys_add_up_within_the_ranges_and_space_stops(terminal):
    stream, typist = terminal
    keyboard = Keyboard(ONE, stream)
    with keyboard.listen():
        assert requested(keyboard) == STOP  # nothing typed: it does not wait
        for typed, expected in (
            (b"ww", (0.2, 0.0)),
            (b"\x1b[A\x1b[D", (0.3, 0.1)),
            (b"\x1bOB", (0.2, 0.1)),
            (b"W", (0.3, 0.1)),
            (b"dddx\x1b[C", (0.3, -0.3)),
            (b"w" * 20 + b"d" * 20, (0.8, -0.5)),
            (b"sA", (0.7, -0.4)),
            (b"\x1b[1;5D\x1b[3~\x1b[H", (0.7, -0.3)),  # control and left; delete; home
            (b"w ", STOP),
            (b"w", (0.1, 0.0)),
        ):
            press(typist, typed, stream)
            assert requested(keyboard) == expected, typed
            assert requested(keyboard) == expected


def test_an_arrow_that_comes_in_pieces_is_one_arrow(terminal):
    stream, typist = terminal
    keyboard = Keyboard(ONE, stream)
    with keyboard.listen():
        for piece, expected in ((b"\x1b", STOP), (b"[", STOP), (b"A", (0.1, 0.0))):
            press(typist, piece, stream)
            assert requested(keyboard) == expected


def test_what_was_typed_before_the_run_steers_nothing(terminal):
    stream, typist = terminal
    press(typist, b"www\n", stream)
    keyboard = Keyboard(ONE, stream)
    with keyboard.listen():
        assert requested(keyboard) == STOP


def test_the_terminal_is_given_back_as_it_was_whatever_happens(terminal):
    stream, _ = terminal
    before = termios.tcgetattr(stream.fileno())

    def run_and_fail():
        with Keyboard(ONE, stream).listen():
            quiet = termios.tcgetattr(stream.fileno())
            assert not quiet[3] & (termios.ICANON | termios.ECHO)
            assert quiet[3] & termios.ISIG  # Ctrl-C stays Ctrl-C
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_fail()
    assert termios.tcgetattr(stream.fileno()) == before


def test_a_terminal_that_goes_away_requests_a_stop_and_nobody_steers():
    typist, host = os.openpty()
    with open(host) as stream:
        keyboard = Keyboard(ONE, stream)
        with keyboard.listen():
            press(typist, b"www", stream)
            assert requested(keyboard) == (0.3, 0.0)
            os.close(typist)
            assert select.select([stream], [], [], 30.0)[0]
            assert requested(keyboard) == STOP
            assert keyboard.poll().lost == "the terminal is gone"


SEVERAL = [Choosable("walk", SPEC), Choosable("trot", None), Choosable("slow", SLOW)]


def test_keys_choose_a_policy_which_begins_at_zero(terminal):
    stream, typist = terminal
    keyboard = Keyboard(SEVERAL, stream)
    assert "1 walk (-0.2 to 0.8 m/s" in keyboard.instructions
    assert "2 trot (cannot be steered)" in keyboard.instructions
    with keyboard.listen():
        for typed, choice, velocity in (
            (b"w", 0, (0.1, 0.0)),
            (b"3", 2, STOP),
            (b"wwwwd", 2, (0.3, -0.1)),  # clipped to what the slow one knows
            (b" ", 2, STOP),
            (b"2", 1, STOP),
            (b"w", 1, STOP),
            (b"0", STAND, STOP),
            (b"w", STAND, STOP),
            (b"1w", 0, (0.1, 0.0)),
            (b"9", 0, STOP),  # there is none
            (b"2", 1, STOP),
            (b" ", STAND, STOP),  # it cannot be told to stop
        ):
            press(typist, typed, stream)
            assert keyboard.poll().choice == choice, typed
            assert keyboard.requested(0.0) == velocity, typed
