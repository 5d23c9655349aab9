"""The protocol's tables: numbers that other programs rely on, and a spec that has them."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

import robot_firmware_bridge
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol import layout as protocol
from robot_firmware_bridge.protocol.layout import ENUMS, MAX_FRAME, MESSAGES, wire_bytes
from robot_firmware_bridge.protocol.wire import Command, Decoder, encode

SPEC = (Path(robot_firmware_bridge.__file__).parent / "protocol" / "spec.md").read_text()
RANGES = {
    "u8": (0, 255),
    "u16": (0, 65535),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "i16": (-32768, 32767),
}


def section(title):
    """Text of the spec below a heading that begins with ``title``, up to the next heading."""
    (_, text) = re.split(rf"^##+ {re.escape(title)}.*$", SPEC, maxsplit=1, flags=re.MULTILINE)
    return re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """Return the cells of the one table in a text, without its head."""
    (table,) = re.findall(r"^\|[-:|]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def number(text):
    base, _, rest = text.partition("^")
    if not rest:
        return float(text)
    exponent, _, minus = rest.partition(" - ")
    return int(base) ** int(exponent) - int(minus or 0)


def test_sizes_and_identifiers_are_what_boards_in_the_field_have():
    assert {name: (layout.id, layout.struct.size) for name, layout in MESSAGES.items()} == {
        "hello": (0x01, 18),
        "request": (0x02, 3),
        "command": (0x03, 24),
        "sensors": (0x11, 128),
        "identity": (0x81, 57),
        "reply": (0x82, 7),
        "state": (0x83, 87),
        "drive": (0x91, 37),
    }
    assert MAX_FRAME == 1 + 128 + 4
    assert MAX_FRAME < 254  # or COBS would add more than a byte


def test_a_frame_has_two_delimiters_one_stuffing_byte_id_payload_and_crc():
    assert wire_bytes("state") == 1 + 1 + 1 + 87 + 4 + 1
    assert wire_bytes("command") == 32


def test_modes_and_faults_are_the_same_in_python():
    assert ENUMS["mode"] == {mode.name.lower(): mode.value for mode in Mode}
    assert ENUMS["fault"] == {fault.name.lower(): fault.value for fault in Fault}


def test_the_hash_changes_with_what_is_on_the_wire_and_not_with_its_words():
    tables = {"message": {"m": {"id": 1, "doc": "x", "fields": [{"name": "a", "doc": "y"}]}}}
    reworded = {"message": {"m": {"id": 1, "doc": "z", "fields": [{"name": "a"}]}}}
    changed = {"message": {"m": {"id": 2, "doc": "x", "fields": [{"name": "a", "doc": "y"}]}}}
    assert protocol._hash(tables) == protocol._hash(reworded)
    assert protocol._hash(tables) != protocol._hash(changed)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_spec_has_every_field_as_it_is(name):
    layout = MESSAGES[name]
    text = section(f"{name} (0x{layout.id:02x}), {layout.struct.size} bytes")
    assert layout.doc in text
    in_spec = rows(text)
    assert len(in_spec) == len(layout.fields)
    for row, field in zip(in_spec, layout.fields, strict=True):
        kind = field.type + (f"[{field.count}]" if field.count > 1 else "")
        assert row[:3] == [str(field.offset), field.name, kind]
        assert (float(row[3]) if row[3] else None) == field.scale
        assert [row[4], row[6]] == [field.unit, field.doc]
        if field.type in RANGES:
            spec_range = [number(end) for end in row[5].split(" to ")]
            truth = [end * (field.scale or 1) for end in RANGES[field.type]]
            assert spec_range == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("name", ENUMS)
def test_the_spec_has_every_number_of_an_enumeration(name):
    table = re.search(rf"^\| {name} \| number \|\n(\|.*\n)+", SPEC, flags=re.MULTILINE)
    assert {row[0]: int(row[1]) for row in rows(table[0])} == ENUMS[name]


def test_the_example_of_the_spec_is_what_goes_on_the_line():
    text = section("A command, byte by byte")
    body, frame = (bytes.fromhex(line) for line in re.findall(r"^    ([0-9a-f ]+)$", text, re.M))
    target = np.array([2.0, 2.0, 1.75, 2.25, 2.0, 2.0, 0.0, -0.5])
    assert encode(Command(258, 80, 1.0, 0.015, target)) == frame
    assert f"0x{zlib.crc32(body):08x}" in text
    # Without the code: unstuff by hand, block by block.
    unstuffed, rest = b"", frame[1:-1]
    while rest:
        unstuffed += rest[1 : rest[0]] + b"\0"
        rest = rest[rest[0] :]
    assert unstuffed == body + zlib.crc32(body).to_bytes(4, "little") + b"\0"


def test_the_spec_names_the_longest_piece_of_a_stream():
    assert f"({MAX_FRAME + 1} bytes)" in section("What a receiver does")
    decoder = Decoder()
    decoder.feed(b"\1" * 134 + b"\0" + b"\1" * 135 + b"\0")
    assert decoder.framing_errors == 2


def test_the_byte_budget_of_the_spec_adds_up():
    in_spec = rows(section("Byte budget"))
    assert [int(row[0]) for row in in_spec] == [115_200, 460_800, 921_600, 2_000_000]
    for row in in_spec:
        baud, state_ms, command_ms, interval_ms, rate, state_load, command_load = (
            float(cell.removesuffix(" %")) for cell in row
        )
        assert state_ms == pytest.approx(95 * 10 * 1e3 / baud, abs=0.006)
        assert command_ms == pytest.approx(32 * 10 * 1e3 / baud, abs=0.006)
        assert interval_ms == math.ceil(95 * 10 * 1e3 / baud / 0.9)
        assert rate == 1000 // interval_ms
        assert state_load == pytest.approx(100 * 95e4 / baud / interval_ms, abs=0.51)
        assert command_load == pytest.approx(100 * 320 * 166 / baud, abs=0.51)
