"""The keyboard: the keys of a real pseudo terminal."""

import itertools
import os
import select
import termios
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        "(0.1 rad/s a press), space for zero velocity, 0 stands; "
        "1 steer (-0.2 to 0.8 m/s, -0.5 to 0.5 rad/s)"
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


ANY = [Choosable(name, VelocityCommandSpec((-9.0, 9.0), (-9.0, 9.0), 1.0, 1.0)) for name in "abc"]


def within(first, last, most):
    """Byte strings of bytes in a range."""
    return st.lists(st.integers(first, last), max_size=most).map(bytes)


def is_noise(csi):
    """Whether a CSI sequence is no arrow, and none that goes on after its last byte."""
    *before, last = csi
    plain = all(byte in b"0123456789;" for byte in before)
    return not (plain and last in b"ABCD") and csi not in (b"M", b"[")


CSI = st.tuples(within(0x30, 0x3F, 9), within(0x20, 0x2F, 2), within(0x40, 0x7E, 1)).map(b"".join)
TEXT = st.lists(st.integers(0x20, 0x7E) | st.integers(0x80, 0xFF), max_size=90).map(bytes)
NOISE = st.one_of(
    CSI.filter(lambda csi: csi and csi[-1] >= 0x40 and is_noise(csi)).map(b"\x1b[".__add__),
    st.lists(st.integers(0x20, 0xFF), min_size=3, max_size=3).map(lambda b: b"\x1b[M" + bytes(b)),
    st.sampled_from([b"\x1b[[A", b"\x1b[[E", b"\x1bOP", b"\x1bO5P", b"\x1bOp"]),
    st.builds(
        lambda kind, text, end: b"\x1b" + kind + text + end,
        st.sampled_from([b"]", b"P", b"X", b"^", b"_"]),
        TEXT,
        st.sampled_from([b"\a", b"\x1b\\"]),
    ),
)
ARROWS = st.sampled_from([b"\x1b[A", b"\x1bOA", b"\x1b[1;5A"])


@given(st.lists(NOISE | ARROWS, min_size=1, max_size=6), st.lists(st.integers(0, 200), max_size=12))
def test_of_what_a_terminal_sends_by_itself_nothing_steers(sequences, cuts):
    sent = b"".join(sequences)
    edges = sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})
    ups = sum(sequence in (b"\x1b[A", b"\x1bOA", b"\x1b[1;5A") for sequence in sequences)
    typist, host = os.openpty()
    with open(host) as stream:
        keyboard = Keyboard(ANY, stream)
        with keyboard.listen():
            for piece in (b"3d", *(sent[a:b] for a, b in itertools.pairwise(edges)), b"w"):
                press(typist, piece, stream)
                while select.select([stream], [], [], 0.0)[0]:
                    assert keyboard.poll().lost is None
            assert keyboard.poll().choice == 2
            assert keyboard.requested(0.0) == (pytest.approx(0.1 * (ups + 1)), -0.1)
    os.close(typist)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b[?62;22c",
        b"\x1b[>1;10;0c",
        b"\x1b[<0;12;20M",
        b"\x1b[M !3",
        b"\x1b[20;12R",
        b"\x1b[?2026;2$y",
        b"\x1b]11;rgb:1e1e/2a2a/dada\x1b\\",
        b"\x1b]11;rgb:1e1e/2a2a/dada\a",
        b"\x1bP1$r0 q\x1b\\",
        b"\x1b[0\x1b[0m",  # one that breaks off
    ],
)
def test_no_answer_of_a_terminal_chooses(terminal, answer):
    stream, typist = terminal
    keyboard = Keyboard(ANY, stream)
    with keyboard.listen():
        press(typist, b"2w" + answer, stream)
        assert keyboard.poll().choice == 1
        assert keyboard.requested(0.0) == (0.1, 0.0)


@pytest.mark.parametrize("begun", [b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b"])
def test_a_sequence_without_an_end_does_not_keep_the_space_bar_from_stopping(terminal, begun):
    stream, typist = terminal
    keyboard = Keyboard(ANY, stream)
    with keyboard.listen():
        press(typist, b"w" + begun, stream)
        for _ in range(150):  # ticks: less than a second
            assert requested(keyboard) == (0.1, 0.0)
        press(typist, b" ", stream)
        assert requested(keyboard) == STOP


def test_reading_never_waits_however_the_terminal_is_set(terminal):
    stream, typist = terminal
    keyboard = Keyboard(ONE, stream)
    with keyboard.listen():
        slow = termios.tcgetattr(stream.fileno())
        slow[6][termios.VMIN] = slow[6][termios.VTIME] = 255  # wait for 255 keys, 25 s after each
        termios.tcsetattr(stream.fileno(), termios.TCSANOW, slow)
        press(typist, b"w", stream)
        tick = threading.Thread(target=keyboard.poll, daemon=True)
        tick.start()
        tick.join(20.0)
        assert not tick.is_alive()
        assert requested(keyboard) == (0.1, 0.0)
        assert os.get_blocking(stream.fileno())  # whoever shares the terminal reads as before


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
