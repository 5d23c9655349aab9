"""TensorFlow V2 checkpoint bundles, read without TensorFlow.

A bundle is an index (``PREFIX.index``) and a data shard (``PREFIX.data-00000-of-00001``). The index
is a sorted string table: blocks of prefix-compressed keys, a block that lists the blocks, and a
48-byte footer that says where that one is. A key is a variable's name, its value a small protocol
buffer with type, shape, place in the shard and checksum. Formats: TensorFlow's
``tensor_bundle.proto`` and LevelDB's ``table_format.md``. Imports numpy only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import PeerError

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # after a block: its compression, and a checksum
# The element types of tensor.proto that a policy may have.
_TYPES: dict[int, str] = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a variable lies in the shard, and what it is.

    Attributes:
        dtype: Element type, in numpy's words.
        shape: Its dimensions.
        offset: First byte in the shard.
        size: Number of bytes.
        crc32c: Masked checksum of these bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    crc32c: int


def read_index(prefix: Path) -> dict[str, TensorEntry]:
    """Every variable of a bundle by its name.

    Raises:
        PeerError: Not an index, damaged, or of a kind that is not read here.
    """
    path = Path(f"{prefix}.index")
    data = _read(path)
    try:
        if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
            raise PeerError(f"{path} is not the index of a TensorFlow V2 checkpoint")
        footer = data[-_FOOTER_BYTES:]
        _, at = _varint(footer, 0)
        _, at = _varint(footer, at)  # the meta index, of no use here
        blocks = _entries(_block(data, footer, at))
        pairs = [pair for _, handle in blocks for pair in _entries(_block(data, handle, 0))]
        return {key.decode(): _tensor_entry(value) for key, value in pairs if key}
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise PeerError(f"{path} is damaged: {error}") from error


def read_tensors(prefix: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Variables of a bundle by name, each checked against its checksum.

    Raises:
        PeerError: A variable is missing or damaged.
    """
    index, path = read_index(prefix), Path(f"{prefix}.data-00000-of-00001")
    shard = _read(path)
    tensors: dict[str, NDArray[Any]] = {}
    for name in names:
        if name not in index:
            raise PeerError(f"{prefix} has no variable {name!r}; it has {sorted(index)}")
        entry = index[name]
        data = shard[entry.offset : entry.offset + entry.size]
        if len(data) != entry.size or masked_crc32c(data) != entry.crc32c:
            raise PeerError(f"{path} is damaged: the checksum of {name!r} does not fit")
        tensors[name] = np.frombuffer(data, entry.dtype).reshape(entry.shape)
    return tensors


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PeerError(f"cannot read {path}: {error.strerror}") from error


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number, least group first, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _block(data: bytes, handle: bytes, at: int) -> bytes:
    """The block that a handle, offset and size at ``handle[at:]``, points to."""
    offset, at = _varint(handle, at)
    size, _ = _varint(handle, at)
    end = offset + size
    if len(data) < end + _TRAILER_BYTES:
        raise ValueError("a block lies outside the file")
    (checksum,) = struct.unpack_from("<I", data, end + 1)
    if masked_crc32c(data[offset : end + 1]) != checksum:
        raise ValueError("the checksum of a block does not fit")
    if data[end] != 0:
        raise ValueError("compressed blocks are not read")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key shares its beginning with the one before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of every field of a protocol buffer, undecoded where it has parts."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _varint(message, at)
        elif wire == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif wire == 5:
            value, at = struct.unpack_from("<I", message, at)[0], at + 4
        else:
            raise ValueError(f"wire type {wire} has no place in an index")
        yield number, value


def _tensor_entry(message: bytes) -> TensorEntry:
    fields = dict(_fields(message))
    if fields.get(3, 0) != 0:
        raise ValueError("only bundles of one shard are read")
    shape = tuple(
        dict(_fields(dimension)).get(1, 0)
        for number, dimension in _fields(fields.get(2, b""))
        if number == 2
    )
    dtype = _TYPES.get(fields[1], f"type {fields[1]}")
    return TensorEntry(dtype, shape, fields.get(4, 0), fields.get(5, 0), fields[6])


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of LevelDB's formats: a CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
