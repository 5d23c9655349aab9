"""The stock mainboard's packets: golden bytes, damage, and what a torn packet may hold."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.errors import WireError
from robot_firmware_bridge.stock.wire import (
    COMMAND_BYTES,
    EXTENSION_RAD,
    MAX_GAIN,
    STATE_BYTES,
    SWING_RAD,
    StateScanner,
    StockState,
    decode_command,
    encode_kill,
    encode_position,
    encode_state,
)


def state(t_ms=1000, mode=3, **changes):
    fields = {
        "rpy_rad": np.array((0.01, -0.02, 3.0)),
        "angular_rate_rad_s": np.array((0.5, -1.5, 0.25)),
        "motor_position_rad": np.linspace(0.5, 2.25, 8),
        "duty": np.linspace(-0.7, 0.7, 8),
        "speed_mps": 0.75,
        "battery_v": 15.5,
    }
    return StockState(t_ms=t_ms, mode=mode, **{**fields, **changes})


def assert_same(found, expected):
    assert (found.t_ms, found.mode) == (expected.t_ms, expected.mode)
    for name in ("rpy_rad", "angular_rate_rad_s", "motor_position_rad", "duty"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)
    assert found.battery_v == pytest.approx(expected.battery_v)


def test_a_command_is_pairs_of_extension_and_swing_then_their_gains():
    packet = encode_position(np.array((0.25, -0.125, 0.0, 0.375, 1.0, 1.5, 0.75, 1.25)), 0.5)
    pairs = (1.0, 0.25, 1.5, -0.125, 0.75, 0.0, 1.25, 0.375)
    assert packet == b"\xaa\xbb\x03" + struct.pack("<16f", *pairs, *(0.5,) * 8) + b"\0\0"
    assert len(packet) == COMMAND_BYTES
    order, legs, gains = decode_command(packet)
    assert order == 3
    np.testing.assert_array_equal(legs, (0.25, -0.125, 0.0, 0.375, 1.0, 1.5, 0.75, 1.25))
    np.testing.assert_array_equal(gains, np.full(8, 0.5))


def test_a_kill_is_a_head_and_zeros():
    assert encode_kill() == b"\xaa\xbb" + b"\0" * 67


def test_a_state_by_hand():
    # "Torque" is 0.0954 x 16 / 0.186 = 8.2064 Nm per duty, with the other sign on the right legs.
    torque = (0.82064516, 0.0, 0.0, 0.0, 0.82064516, 0.0, 0.0, -4.1032258)
    numbers = (0.1, 0.2, 0.3, 1.0, 2.0, 3.0, *(0.5,) * 8, *torque, 0.0, 16.0)
    packet = b"\xaa\xbb" + struct.pack("<I24fB", 7, *numbers, 3)
    assert len(packet) == STATE_BYTES
    (found,) = StateScanner().feed(packet)
    assert (found.t_ms, found.battery_v, found.mode) == (7, 16.0, 3)
    np.testing.assert_allclose(found.rpy_rad, (0.1, 0.2, 0.3), rtol=1e-6)
    np.testing.assert_allclose(found.angular_rate_rad_s, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(found.duty, (0.1, 0, 0, 0, -0.1, 0, 0, 0.5), atol=1e-7)
    assert encode_state(found) == packet


@pytest.mark.parametrize(
    "changes",
    [
        {"battery_v": np.nan},
        {"battery_v": 60.0},
        {"rpy_rad": np.array((0.0, np.inf, 0.0))},
        {"motor_position_rad": np.full(8, 1e6)},
        {"mode": 0xAA},
    ],
)
def test_an_impossible_state_is_dropped_and_the_next_is_found(changes):
    scanner = StateScanner()
    found = scanner.feed(encode_state(state(**changes)) + encode_state(state(t_ms=1010)))
    assert [each.t_ms for each in found] == [1010]
    assert (scanner.frames, scanner.damaged, scanner.skipped_bytes) == (1, 1, STATE_BYTES)


@given(cuts=st.lists(st.integers(0, 4 * STATE_BYTES), max_size=8), noise=st.binary(max_size=5))
def test_states_are_found_however_the_bytes_come(cuts, noise):
    sent = [state(t_ms=10 * i) for i in range(4)]
    noise = noise.replace(b"\xaa", b"\0")  # no head, nor the beginning of one
    stream = noise + b"".join(map(encode_state, sent))
    edges = [0, *sorted(cuts), len(stream)]
    scanner = StateScanner()
    found = [s for a, b in itertools.pairwise(edges) for s in scanner.feed(stream[a:b])]
    assert len(found) == 4
    for one, other in zip(found, sent, strict=True):
        assert_same(one, other)
    assert scanner.skipped_bytes == len(noise)


@pytest.mark.parametrize("twice", [False, True])
def test_a_byte_lost_or_doubled_anywhere_costs_one_state_and_forges_none(twice):
    sent = [state(t_ms=1000 + 10 * i) for i in range(4)]
    stream = b"".join(map(encode_state, sent))
    for at in range(STATE_BYTES, 2 * STATE_BYTES):
        damaged = stream[:at] + (stream[at : at + 1] * 2 if twice else b"") + stream[at + 1 :]
        found = StateScanner().feed(damaged)
        times = [each.t_ms for each in found]
        # Bytes doubled at the very ends leave the packet whole.
        assert times in ([1000, 1020, 1030], [1000, 1010, 1020, 1030]), at
        for each in found:
            assert_same(each, sent[(each.t_ms - 1000) // 10])


@pytest.mark.parametrize("word", [0x3FAA0000, 0x3FAAFFFF, 0x3F31AABB, 0x3F3100AA, 0x3FAAAAAA])
def test_no_byte_of_a_command_is_one_of_a_head(word):
    """0x3FAABB.. would be a head in the middle, and the next bytes an order."""
    (extension,) = struct.unpack("<f", struct.pack("<I", word))
    packet = encode_position(np.array((0.0,) * 4 + (extension,) * 4), 1.0 / 3.0)  # 0x3EAAAAAB
    assert b"\xaa" not in packet[2:]
    _, legs, gains = decode_command(packet)
    np.testing.assert_allclose(legs[4:], extension, rtol=3e-3)
    np.testing.assert_allclose(gains, 1.0 / 3.0, rtol=3e-3)


legs_in_bounds = st.tuples(
    *[st.floats(-SWING_RAD, SWING_RAD)] * 4, *[st.floats(*EXTENSION_RAD)] * 4
).map(np.array)
gains_in_bounds = st.floats(0.0, MAX_GAIN)


@given(
    old=st.tuples(legs_in_bounds, gains_in_bounds),
    new=st.tuples(legs_in_bounds, gains_in_bounds),
    cut=st.integers(3, COMMAND_BYTES - 1),
)
def test_a_torn_packet_is_within_bounds_too(old, new, cut):
    torn = encode_position(*new)[:cut] + encode_position(*old)[cut:]
    assert b"\xaa" not in torn[2:]
    _, legs, gains = decode_command(torn)
    swing, extension = np.abs(legs[:4]), legs[4:]
    assert (swing < 0.5).all()
    assert (extension >= 0.5).all()
    assert (extension < 2.0).all()
    assert (gains < 2.0).all()
    assert (gains >= 0.0).all()
    off = np.minimum(np.abs(extension - old[0][4:]), np.abs(extension - new[0][4:]))
    assert (off < 0.015 * extension).all()


@pytest.mark.parametrize(
    ("place", "value"), [(0, 0.5), (3, -0.5), (4, 0.5), (7, 2.0), (2, np.nan), (6, np.nan)]
)
def test_a_leg_out_of_bounds_is_refused(place, value):
    legs = np.array((0.0,) * 4 + (1.0,) * 4)
    legs[place] = value
    with pytest.raises(WireError, match="stock mainboard"):
        encode_position(legs, 1.0)


@pytest.mark.parametrize("gain", [-0.1, 2.0, np.nan, np.inf])
def test_a_gain_out_of_bounds_is_refused(gain):
    with pytest.raises(WireError, match="gain"):
        encode_position(np.array((0.0,) * 4 + (1.0,) * 4), gain)
