"""The wire protocol as Python knows it: read from ``protocol.toml``, the source of every layout.

Message ids, ``struct`` formats, scales and the enumerations all derive from that file, and so does
the C of the firmware. ``spec.md`` says what the messages mean. Standard library only.
"""

from __future__ import annotations

import enum
import hashlib
import json
import struct
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

_FORMATS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i16": "h", "f32": "f", "bytes": "s"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: Name, the same in Python, C and the specification.
        type: Type on the wire, as ``protocol.toml`` names them.
        doc: One line for people.
        offset: Place of its first byte in the payload.
        count: Numbers in it; 1 for a scalar.
        scale: Value of one unit on the wire; None for a number that is sent as it is.
        unit: SI unit of the value, or "".
    """

    name: str
    type: str
    doc: str
    offset: int
    count: int = 1
    scale: float | None = None
    unit: str = ""

    @property
    def size(self) -> int:
        """Bytes in the payload."""
        return struct.calcsize(f"<{self.count}{_FORMATS[self.type]}")


@dataclass(frozen=True, slots=True)
class MessageLayout:
    """Layout of one message's payload.

    Attributes:
        name: Name of the message.
        id: First byte of its frames.
        doc: One line for people.
        fields: Its fields in order, without gaps.
        struct: All of the payload, little endian.
    """

    name: str
    id: int
    doc: str
    fields: tuple[Field, ...]
    struct: struct.Struct


def _layout(name: str, table: dict[str, Any]) -> MessageLayout:
    fields: list[Field] = []
    offset = 0
    for entry in table["fields"]:
        fields.append(Field(**entry, offset=offset))
        offset += fields[-1].size
    layout = "<" + "".join(f"{field.count}{_FORMATS[field.type]}" for field in fields)
    return MessageLayout(name, table["id"], table["doc"], tuple(fields), struct.Struct(layout))


def _without_docs(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_docs(v) for k, v in value.items() if k != "doc"}
    return [_without_docs(v) for v in value] if isinstance(value, list) else value


def _hash(tables: dict[str, Any]) -> int:
    canonical = json.dumps(_without_docs(tables), sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big")


_TABLES = tomllib.loads(resources.files(__package__).joinpath("protocol.toml").read_text("utf-8"))

MESSAGES: dict[str, MessageLayout] = {
    name: _layout(name, table) for name, table in _TABLES["message"].items()
}
ENUMS: dict[str, dict[str, int]] = _TABLES["enum"]
PROTOCOL_HASH: int = _hash(_TABLES)
"""Equal on both sides, or the board refuses to arm."""

MAX_PAYLOAD = max(layout.struct.size for layout in MESSAGES.values())
CRC_SIZE = 4
MAX_FRAME = 1 + MAX_PAYLOAD + CRC_SIZE
"""Bytes of the longest frame before stuffing: id, payload, CRC-32. Below COBS's block of 254."""


class Action(enum.IntEnum):
    """What a request asks for."""

    ARM = ENUMS["action"]["arm"]
    DISARM = ENUMS["action"]["disarm"]
    CLEAR_FAULT = ENUMS["action"]["clear_fault"]
    EMERGENCY_STOP = ENUMS["action"]["emergency_stop"]


class Result(enum.IntEnum):
    """What became of a request."""

    DONE = ENUMS["result"]["done"]
    NOT_INTRODUCED = ENUMS["result"]["not_introduced"]
    WRONG_MODE = ENUMS["result"]["wrong_mode"]
    FAULTY = ENUMS["result"]["faulty"]
    UNKNOWN_ACTION = ENUMS["result"]["unknown_action"]


def wire_bytes(message: str) -> int:
    """Return the bytes on the line of one message: delimiter, stuffed frame, delimiter."""
    return 1 + 1 + (1 + MESSAGES[message].struct.size + CRC_SIZE) + 1
