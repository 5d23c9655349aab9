"""The raw host: its requests, what it measures of itself, and how it leaves the board."""

import random
import time
from contextlib import closing

import pytest

from hil.boards import CheckFailed
from hil.fault_injection import damaged
from hil.raw_host import RawHost
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol.layout import Action, Result
from robot_firmware_bridge.protocol.wire import Decoder, Hello, Request, encode


def test_a_damaged_frame_is_one_bad_chunk_for_the_decoder():
    rng = random.Random(5)
    decoder = Decoder()
    frame = encode(Request(0, 1))
    for _ in range(300):
        decoder.feed(damaged(frame, rng) + frame)
    assert decoder.frames == 300
    assert decoder.crc_errors + decoder.framing_errors == 300


def test_the_host_finds_the_reply_to_its_own_request(board):
    b = board()
    with closing(RawHost(b.path, 921600)) as host:
        host.hello()
        assert host.demand(Action.ARM, Result.DONE, Mode.READY).sequence == 1
        host.stream(0.05)
        assert host.await_echo().mode == Mode.ACTIVE
        with pytest.raises(CheckFailed, match="DISARM was answered DONE, DISARMED, faults none"):
            host.demand(Action.DISARM, Result.FAULTY)
        with pytest.raises(CheckFailed, match=r"no DAMPING within 0\.05 s; last seen: DISARMED"):
            host.wait_mode(Mode.DAMPING, 0.05)
    assert isinstance(b.received[0], Hello)


def test_a_question_is_over_when_every_repeat_of_it_is_answered(board):
    """Or the repeat of an old request would be acted upon after a newer one."""
    b = board()
    with closing(RawHost(b.path, 921600, repeat_s=0.1)) as host:
        host.hello()
        answer, delayed = b._answer, []

        def slow(message):
            if isinstance(message, Request) and len(delayed) < 3:
                delayed.append(message)
            if len(delayed) == 3:
                for late in delayed:
                    answer(late)
                b._answer = answer

        b._answer = slow
        host.request(Action.ARM)
        assert [m.action for m in delayed] == [Action.ARM] * 3
        host.request(Action.DISARM)
        assert b.actions() == [Action.ARM] * 3 + [Action.DISARM]
        assert host.fresh_state().mode == Mode.DISARMED


def test_a_host_measures_when_it_had_no_turn_but_not_what_it_waited_for(board):
    b = board()
    with closing(RawHost(b.path, 921600)) as host:
        host.hello()
        host.forget_delays()
        time.sleep(0.2)
        host.receive()
        assert host.stalled_s >= 0.2
        b.mute = True
        host.forget_delays()
        host.listen(0.3)  # no byte comes
        assert host.stalled_s < 0.15


def test_a_board_that_does_not_answer_is_a_failure_not_a_hang(board):
    b = board()
    b.close()
    with pytest.raises(OSError, match="No such file"):
        RawHost(b.path, 921600)
    b = board()
    b.mute = True
    began_s = time.monotonic()
    with (
        pytest.raises(CheckFailed, match="no answer to hello"),
        closing(RawHost(b.path, 921600, answer_s=0.3)) as host,
    ):
        host.hello()
    assert time.monotonic() - began_s < 5.0
    assert b.actions() == [Action.DISARM] * len(b.actions()) != []  # tried all the same
