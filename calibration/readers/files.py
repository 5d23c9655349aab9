"""Bytes and arrays of files that strangers made: bounded, and refused by their cause."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError

# Twenty minutes of a run of this stack, packed and unpacked.
LARGEST_BYTES = 2**27
_LARGEST_ARRAYS_BYTES = 2**28
_MOST_ARRAYS = 200
_ZIP = b"PK\x03\x04"
_DAMAGED = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


def read_bytes(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        RecordError: It cannot be read, is no regular file, is empty or too large.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RecordError(f"{path} is a folder or a device, and a file is needed")
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise RecordError(f"cannot read {path}: {reason}") from error
    refuse_large(path, data, LARGEST_BYTES)
    if not data:
        raise RecordError(f"{path} is empty: the log was never written, or its disk was full")
    return data


def refuse_large(path: Path, data: bytes, largest: int) -> None:
    """Refuse a file of more bytes than the largest that is read of its kind.

    Raises:
        RecordError: It is larger.
    """
    if len(data) > largest:
        raise RecordError(
            f"{path} is larger than {largest >> 20} MiB: cut the part that matters out of it"
        )


def is_npz(data: bytes) -> bool:
    """Return whether bytes begin as an ``.npz`` file does."""
    return data.startswith(_ZIP)


def read_npz(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name.

    The size that each array claims is compared with what the file holds before memory is taken.

    Raises:
        RecordError: The file is damaged, too large when unpacked, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            whole = sum(member.file_size for member in members)
            if len(members) > _MOST_ARRAYS or whole > _LARGEST_ARRAYS_BYTES:
                raise RecordError(
                    f"{path} unpacks to {len(members)} arrays of {whole / 2**20:.0f} MiB, and "
                    f"{_LARGEST_ARRAYS_BYTES >> 20} MiB are read at most"
                )
            return {
                member.filename.removesuffix(".npy"): _array(archive.read(member))
                for member in members
            }
    except _DAMAGED as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"{path} is a damaged .npz file ({text}): copy it again") from error
    except (NotImplementedError, RuntimeError) as error:  # of zipfile: encrypted, odd packing
        raise RecordError(f"{path} is no .npz file of NumPy: {error}") from error


def _array(member: bytes) -> NDArray[Any]:
    """Return the array of one member of an ``.npz`` file.

    Raises:
        ValueError: It is none, or claims another size than it has.
    """
    stream = io.BytesIO(member)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format")
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    claimed = dtype.itemsize
    for length in shape:
        claimed *= length
    held = member[stream.tell() :]
    if claimed != len(held) or any(length < 0 for length in shape):
        raise ValueError(f"an array claims {claimed} bytes and has {len(held)}")
    array = np.frombuffer(held, dtype) if held else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
