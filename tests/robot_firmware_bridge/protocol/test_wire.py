"""The codec: what goes in comes out within half a unit, and damage costs what it hit, no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.errors import BridgeError, WireError
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import MESSAGES
from robot_firmware_bridge.protocol.wire import Command, Decoder, encode, frame_of_payload

LEAST = {"u8": 0, "u16": 0, "u32": 0, "u64": 0, "i16": -0x8000}
GREATEST = {"u8": 0xFF, "u16": 0xFFFF, "u32": 2**32 - 1, "u64": 2**64 - 1, "i16": 0x7FFF}


def field_values(field):
    """Values that a field may be given, out of its range too where it saturates."""
    if field.type == "bytes":
        return st.binary(min_size=field.count, max_size=field.count)
    if field.type == "f32":
        real = st.floats(-(2.0**100), 2.0**100, width=32)
    elif field.scale is not None or field.count > 1:
        span = GREATEST[field.type] * (field.scale or 1.0)
        real = st.floats(-2.0 * span, 2.0 * span)
    else:
        return st.integers(LEAST[field.type], GREATEST[field.type])
    if field.count == 1:
        return real
    return st.lists(real, min_size=field.count, max_size=field.count).map(np.array)


def messages(name):
    return st.builds(wire.CLASSES[name], *(field_values(field) for field in MESSAGES[name].fields))


ANY_MESSAGE = st.sampled_from(sorted(MESSAGES)).flatmap(messages)


def plain(message):
    """A message as something that compares."""
    return (type(message).__name__, [np.asarray(value).tolist() for value in message])


def decode_one(frame):
    decoder = Decoder()
    (message,) = decoder.feed(frame)
    assert (decoder.frames, decoder.crc_errors, decoder.framing_errors) == (1, 0, 0)
    return message


def example(name, **changes):
    """A message of unremarkable numbers."""
    args = []
    for field in MESSAGES[name].fields:
        if field.type == "bytes":
            args.append(b"x" * field.count)
        elif field.count > 1:
            args.append(np.linspace(0.1, 1.0, field.count))
        else:
            args.append(0.5 if field.scale or field.type == "f32" else 3)
    return wire.CLASSES[name](*args)._replace(**changes)


REAL_FIELDS = [
    (name, own)
    for name, layout in MESSAGES.items()
    for field, own in zip(layout.fields, wire.CLASSES[name]._fields, strict=True)
    if field.scale is not None or field.type == "f32" or (field.count > 1 and field.type != "bytes")
]


@pytest.mark.parametrize("name", MESSAGES)
def test_the_classes_are_the_protocols_messages(name):
    ours = wire.CLASSES[name]._fields
    assert list(ours) == [field.name for field in MESSAGES[name].fields]


@given(ANY_MESSAGE)
def test_what_goes_in_comes_out_within_half_a_unit(message):
    name = next(name for name, kind in wire.CLASSES.items() if type(message) is kind)
    back = decode_one(encode(message))
    for field, sent, got in zip(MESSAGES[name].fields, message, back, strict=True):
        if field.type == "f32":
            np.testing.assert_array_equal(got, np.float32(sent))
        elif field.scale is not None or (field.count > 1 and field.type != "bytes"):
            unit = field.scale or 1.0
            within = np.clip(sent, LEAST[field.type] * unit, GREATEST[field.type] * unit)
            assert np.abs(got - within).max() <= unit * (0.5 + 1e-9)
        else:
            assert got == sent


@given(ANY_MESSAGE)
def test_a_frame_holds_no_zero_but_its_delimiters_and_comes_out_as_it_went_in(message):
    frame = encode(message)
    assert frame[0] == frame[-1] == 0
    assert 0 not in frame[1:-1]
    assert encode(decode_one(frame)) == frame


def test_values_round_to_the_nearest_and_saturate():
    sent = Command(1, 80, 1.00004, 0.7, np.array([9.0, -9.0, 2.0001, 2.00013, 0, 0, 0, 0]))
    frame, returned = wire.encode_command(sent)
    got = decode_one(frame)
    assert plain(got) == plain(returned)
    assert got.kp == pytest.approx(1.0)
    assert got.kd == pytest.approx(0.65535)
    np.testing.assert_allclose(got.target_rad[:4], [8.19175, -8.192, 2.0, 2.00025], atol=1e-12)


def test_a_value_out_of_all_proportion_saturates_without_a_warning():
    got = decode_one(encode(Command(1, 80, 1e300, -1e300, np.full(8, 1e308))))
    assert (got.kp, got.kd) == (pytest.approx(6.5535), 0.0)
    np.testing.assert_allclose(got.target_rad, 8.19175)


@pytest.mark.parametrize(("name", "field"), REAL_FIELDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_nan_and_no_infinity_goes_on_the_wire(name, field, bad):
    message = example(name)
    value = getattr(message, field)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value[-1] = bad
    else:
        value = bad
    message = message._replace(**{field: value})
    if field == "housing_temperature_c" and math.isnan(bad):
        assert math.isnan(decode_one(encode(message)).housing_temperature_c[-1])
        return
    with pytest.raises(WireError, match=field) as caught:
        encode(message)
    assert isinstance(caught.value, (BridgeError, ValueError))


@pytest.mark.parametrize("shape", [(7,), (9,), (1,), (), (8, 1)])
def test_a_vector_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(WireError, match="target_rad has shape"):
        encode(example("command", target_rad=np.ones(shape)))


@pytest.mark.parametrize("sequence", [-1, 65536, 1.5])
def test_a_whole_number_that_does_not_fit_is_refused(sequence):
    with pytest.raises(WireError, match="Command"):
        encode(example("command", sequence=sequence))


def test_decoded_arrays_are_the_receivers_own():
    frame = encode(example("state"))
    decoder = Decoder()
    (first,) = decoder.feed(frame)
    first.motor_position_rad[:] = 7.0
    (second,) = decoder.feed(frame)
    assert second.motor_position_rad.dtype == np.float64
    assert second.motor_position_rad.max() <= 1.0


@given(st.lists(ANY_MESSAGE, min_size=1, max_size=4), st.data())
def test_chunks_do_not_matter(sent, data):
    stream = b"".join(encode(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(memoryview(stream)[start:end])
    assert [plain(message) for message in got] == [plain(decode_one(encode(m))) for m in sent]
    assert decoder.frames == len(sent)


@given(st.binary(max_size=600))
def test_any_bytes_give_the_same_whole_or_one_by_one(data):
    whole, single = Decoder(), Decoder()
    got = [plain(message) for message in whole.feed(data)]
    assert got == [
        plain(m) for i in range(len(data)) for m in single.feed(bytearray(data[i : i + 1]))
    ]
    counts = [(d.frames, d.crc_errors, d.framing_errors) for d in (whole, single)]
    assert counts[0] == counts[1]
    pieces = [piece for piece in data.split(b"\0")[:-1] if piece]
    assert sum(counts[0]) == len(pieces)


@given(st.lists(ANY_MESSAGE, min_size=3, max_size=3), st.data())
def test_one_damaged_byte_costs_one_frame_and_never_makes_another(sent, data):
    stream = bytearray(b"".join(encode(message) for message in sent))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    decoder = Decoder()
    got = [plain(message) for message in decoder.feed(bytes(stream) + b"\0")]
    truth = [plain(decode_one(encode(message))) for message in sent]
    assert got in [truth[:i] + truth[i + 1 :] for i in range(3)]
    assert decoder.crc_errors + decoder.framing_errors in (1, 2)


@given(st.lists(ANY_MESSAGE, min_size=3, max_size=3), st.data())
def test_one_lost_or_doubled_byte_costs_one_frame_at_most(sent, data):
    stream = bytearray(b"".join(encode(message) for message in sent))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place : place + 1] = stream[place : place + 1] * data.draw(st.sampled_from([0, 2]))
    got = [plain(message) for message in Decoder().feed(bytes(stream) + b"\0")]
    truth = [plain(decode_one(encode(message))) for message in sent]
    assert got in [truth, *(truth[:i] + truth[i + 1 :] for i in range(3))]


@pytest.mark.parametrize(
    ("message_id", "size", "framing"),
    [(0x03, 24, 0), (0x03, 23, 1), (0x03, 25, 1), (0x04, 24, 1), (0x03, 0, 1)],
)
def test_what_is_no_frame_is_a_framing_error(message_id, size, framing):
    decoder = Decoder()
    decoder.feed(frame_of_payload(message_id, bytes(size)))
    assert (decoder.frames, decoder.crc_errors, decoder.framing_errors) == (1 - framing, 0, framing)


def test_a_wrong_checksum_is_an_error_of_its_own():
    frame = bytearray(encode(Command(1, 80, 1.0, 0.015, np.full(8, 2.0))))
    frame[3] ^= 0x10  # the sequence: no stuffing byte, and it becomes no zero
    decoder = Decoder()
    assert decoder.feed(frame) == []
    assert (decoder.crc_errors, decoder.framing_errors) == (1, 0)


def test_a_stuffing_byte_that_points_past_the_end_is_a_framing_error():
    frame = bytearray(encode(wire.Request(0x0101, 1)))  # no zero in it: one stuffing byte
    assert frame[1] == len(frame) - 2
    frame[1] += 1
    decoder = Decoder()
    assert decoder.feed(frame) == []
    assert (decoder.crc_errors, decoder.framing_errors) == (0, 1)


def test_an_endless_frame_takes_no_memory_and_one_count():
    decoder = Decoder()
    for _ in range(1000):
        decoder.feed(b"\x01" * 100)
    assert len(decoder._rest) <= wire.MAX_CHUNK + 1
    frame = encode(example("reply"))
    assert len(decoder.feed(frame)) == 1
    assert decoder.framing_errors == 1


def test_forgetting_the_beginning_of_a_frame():
    frame = encode(example("reply"))
    decoder = Decoder()
    decoder.feed(frame[:5])
    decoder.reset()
    assert len(decoder.feed(frame)) == 1
    assert decoder.framing_errors == 0
