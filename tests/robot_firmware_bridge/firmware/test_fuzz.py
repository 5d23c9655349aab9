"""Damaged lines: Python's decoder and C's agree on everything, and the firmware bears it all."""

import os
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.firmware.tools import fuzz
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import MAX_FRAME, PROTOCOL_HASH

ARRAYS = ["motor_position_rad", "motor_velocity_rad_s", "rpy_rad", "angular_rate_rad_s"]
ARRAYS += ["housing_temperature_c"]
# Once more under the address sanitizer, in test_checked.py, a part of it is enough.
BYTES = 200_000 if "FIRMWARE_COVERAGE" in os.environ else 1_000_000


def test_decoders_agree_on_a_million_bytes(library):
    summary = fuzz.fuzz(library, BYTES, seed=1)
    assert summary.bytes >= BYTES
    # The line did what it should: much was lost, much came through, and both kinds of error came.
    assert 0.5 < summary.frames / summary.sent < 0.8
    assert summary.crc_errors > summary.sent / 50
    assert summary.framing_errors > summary.sent / 5


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [
        ("framing_errors", "different counters"),
        ("frames_lost", "different frames"),
        ("frames_made_up", "different frames"),
    ],
)
def test_the_fuzzer_sees_a_decoder_that_differs(library, monkeypatch, attribute, wrong):
    class Differs(wire.Decoder):
        def feed(self, data):
            messages = super().feed(data)
            if attribute == "framing_errors":
                self.framing_errors = 0
            elif attribute == "frames_lost":
                messages = [m for m in messages if not isinstance(m, wire.Reply)]
            elif messages:
                messages.append(messages[0])
            return messages

    monkeypatch.setattr(fuzz.wire, "Decoder", Differs)
    with pytest.raises(fuzz.DecodersDisagree, match=f"{wrong} in round 0 of seed 1"):
        fuzz.fuzz(library, 10_000, seed=1)


def test_the_fuzzer_sees_a_frame_that_was_not_sent(library, monkeypatch):
    forged = wire.encode(wire.Request(1, 1))
    monkeypatch.setattr(fuzz, "damaged_line", lambda frames, rng: b"".join(frames) + forged)
    with pytest.raises(fuzz.DecodersDisagree, match="not sent, round 0 of seed 1"):
        fuzz.fuzz(library, 10_000, seed=1)


@given(data=st.data())
def test_one_damaged_byte_costs_exactly_one_frame(library, data):
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    frames = [fuzz.random_frame(rng) for _ in range(3)]
    line = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    decoder = fuzz.CDecoder(library)
    found = decoder.feed(bytes(line))
    hit = 0 if at < len(frames[0]) else 1 if at < len(frames[0]) + len(frames[1]) else 2
    # A delimiter that was broken between two frames may cost nothing: the other one is still there.
    assert found in (frames, frames[:hit] + frames[hit + 1 :])
    if line[at] != 0 and 0 < at < len(line) - 1 and bytes(line).count(0) == 6:
        assert found != frames


@pytest.mark.parametrize("size", [MAX_FRAME, MAX_FRAME + 1, MAX_FRAME + 2, 5000])
def test_long_chunks_are_one_error_and_then_all_is_well(library, size):
    frame = wire.encode(wire.Request(1, 1))
    decoder = fuzz.CDecoder(library)
    assert decoder.feed(b"\x01" * size) == []
    assert decoder.counters == (0, 0, 0)  # it is no chunk before its delimiter
    assert decoder.feed(frame) == [frame]
    assert decoder.counters == (1, 0, 1)


def test_delimiters_are_no_error(library):
    decoder = fuzz.CDecoder(library)
    assert decoder.feed(bytes(1000)) == []
    assert decoder.counters == (0, 0, 0)


def test_the_firmware_bears_any_bytes_and_any_sensors(bench):
    """Whatever comes, a duty is a number within its bound, and open bridges have none."""
    rng, numbers = random.Random(5), np.random.default_rng(5)
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0], np.float32)
    modes = set()
    for round_ in range(600):
        if round_ % 20 == 0:
            bench.power_on()
        robot_hash = ROBOT_HASH if rng.random() < 0.7 else rng.getrandbits(64)
        bench.send(wire.Hello(PROTOCOL_HASH, robot_hash, 1, rng.randint(0, 255)))
        bench.send(wire.Request(round_, rng.randint(0, 5)))
        bench.tick()
        modes.add(bench.state and bench.mode)
        for _ in range(rng.randint(1, 20)):
            bench.command(target=rng.uniform(-9, 9), kp=rng.uniform(0, 6), kd=rng.uniform(0, 0.6))
            bench.board.receive(fuzz.damaged_line([fuzz.random_frame(rng)], rng) + b"\0")
            bench.sensors.motor_velocity_rad_s[:] = numbers.normal(0.0, 100.0, 8)
            if rng.random() < 0.05:
                array = getattr(bench.sensors, rng.choice(ARRAYS))
                array[rng.randrange(array.size)] = numbers.choice(strange)
            if rng.random() < 0.05:
                bench.sensors.battery_v = numbers.choice(strange)
            drive = bench.tick()
            assert (np.abs(drive.duty) <= 1.0).all()  # false for NaN
            assert drive.enabled or (drive.duty == 0.0).all()
            modes.add(bench.state and bench.mode)
    assert modes >= set(Mode)
