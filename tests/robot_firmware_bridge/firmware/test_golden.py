"""Golden frames: Python, C and an encoder written here make the same bytes of the same values."""

import ctypes
import json
import struct
import zlib
from importlib import resources

import numpy as np
import pytest

from robot_firmware_bridge.firmware.library import load
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import MESSAGES

GOLDEN = json.loads(
    resources.files("robot_firmware_bridge.firmware").joinpath("golden/frames.json").read_text()
)
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i16": "h", "f32": "f"}

each_golden = pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: f"{g['message']}-{g['case']}")


def value(golden, field):
    """A field as wire.py takes it; null is NaN, integers past 2^53 and bytes are hex."""
    given = golden["values"][field.name]
    if field.type == "bytes":
        return bytes.fromhex(given)
    if isinstance(given, str):
        return int(given, 16)
    if isinstance(given, list):
        return np.array([np.nan if number is None else number for number in given])
    return given


def message(golden):
    fields = MESSAGES[golden["message"]].fields
    return wire.CLASSES[golden["message"]](*(value(golden, field) for field in fields))


def test_every_message_has_typical_values_and_edges():
    assert sorted((g["message"], g["case"]) for g in GOLDEN) == sorted(
        (name, case) for name in MESSAGES for case in ("typical", "edges")
    )


@each_golden
def test_bytes_by_hand(golden):
    payload = b""
    for field in MESSAGES[golden["message"]].fields:
        given = value(golden, field)
        if field.type == "bytes":
            payload += given
            continue
        for number in np.ravel(given).tolist():
            if field.type != "f32":
                number = round(number / field.scale) if field.scale else int(number)
            payload += struct.pack("<" + CODES[field.type], number)
    body = bytes([golden["id"]]) + payload
    body += struct.pack("<I", zlib.crc32(body))
    stuffed = b"".join(bytes([len(part) + 1]) + part for part in body.split(b"\0"))
    assert payload.hex() == golden["payload"]
    assert (b"\0" + stuffed + b"\0").hex() == golden["frame"]


@each_golden
def test_python_encodes_and_decodes(golden):
    wanted = message(golden)
    assert wire.encode(wanted).hex() == golden["frame"]
    (decoded,) = wire.Decoder().feed(bytes.fromhex(golden["frame"]))
    assert type(decoded) is type(wanted)
    for name in type(wanted).__annotations__:
        got, expected = getattr(decoded, name), getattr(wanted, name)
        if isinstance(expected, bytes | int):
            assert got == expected, name
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-7, err_msg=name)


@each_golden
def test_c_decodes_and_encodes(golden, library):
    probe = load(library)
    frame, payload = bytes.fromhex(golden["frame"]), bytes.fromhex(golden["payload"])
    out = ctypes.create_string_buffer(256)

    probe.probe_decoder_start()
    size = probe.probe_decoder_feed(frame, len(frame), out, 256)
    assert out.raw[:size] == bytes([golden["id"]]) + payload

    size = probe.probe_encode(golden["id"], payload, out)
    assert out.raw[:size] == frame

    # It packs what it unpacks.
    assert probe.probe_repack(golden["id"], payload, out) == 0
    assert out.raw[: len(payload)] == payload


def test_c_refuses_an_unknown_id(library):
    assert load(library).probe_repack(0x55, bytes(128), ctypes.create_string_buffer(128)) == -1
