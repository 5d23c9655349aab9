"""The true pose of the robot in shared memory, from motion capture or a simulator.

A tracker publishes the newest pose, and a control loop in another process reads it; neither waits
for the other. The pose is overwritten in place and has a checksum, so that a reader sees when it
meets the writer in the middle of a write, and reads again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import BridgeError

Array = NDArray[np.float64]

# Time, position, quaternion; then the CRC-32 of these. Native byte order: it never leaves the host.
_POSE = struct.Struct("=q7d")
_SIZE = _POSE.size + 4
_TRIES = 100


class MocapError(BridgeError):
    """There is no pose to be read; the message names the file and the cure."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of the body's link origin in the world, x along the start heading, z up.

    Attributes:
        t_ns: Time at which it was true, CLOCK_MONOTONIC of this machine.
        position_m: Shape (3,).
        quaternion: Orientation (x, y, z, w), shape (4,).
    """

    t_ns: int
    position_m: Array
    quaternion: Array


class MocapWriter:
    """Publishes poses.

    Args:
        path: File to publish in; made anew. On /dev/shm it costs no disk.

    Raises:
        MocapError: The file cannot be written, or something else than poses is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() and not (path.is_file() and path.stat().st_size == _SIZE):
            raise MocapError(f"cannot publish poses in {path}: something else is there")
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            # A reader of an older file keeps that one, instead of a file that shrinks under it.
            fresh.write_bytes(bytes(_SIZE))
            with fresh.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), _SIZE)
            fresh.replace(path)
        except OSError as error:
            raise MocapError(f"cannot publish poses in {path}: {error.strerror}") from error

    def write(self, t_ns: int, position_m: Array, quaternion: Array) -> None:
        """Publish a pose: position (3,) in m and orientation (x, y, z, w)."""
        pose = _POSE.pack(t_ns, *position_m, *quaternion)
        self._memory[:] = pose + zlib.crc32(pose).to_bytes(4, "little")

    def close(self) -> None:
        """Stop publishing and remove the file. Idempotent."""
        if self._memory.closed:
            return
        self._memory.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


class MocapReader:
    """Reads the newest pose that a tracker publishes.

    Args:
        path: The file in which they are published.

    Raises:
        MocapError: No tracker publishes there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise MocapError(f"no poses in {path}: start the tracker first") from error

    def read(self) -> Pose:
        """Return the newest pose.

        Raises:
            MocapError: No pose was published yet, or its writer died in the middle of one.
        """
        for _ in range(_TRIES):
            data = self._memory[:]
            pose, checksum = data[: _POSE.size], data[_POSE.size :]
            if zlib.crc32(pose) == int.from_bytes(checksum, "little"):
                t_ns, *numbers = _POSE.unpack(pose)
                return Pose(t_ns, np.array(numbers[:3]), np.array(numbers[3:]))
        raise MocapError(f"no whole pose in {self._path}: is the tracker running?")

    def base_position_m(self) -> Array:
        """Return the newest position of the body, shape (3,): the odometry of a control loop.

        Raises:
            MocapError: As for :meth:`read`.
        """
        return self.read().position_m

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._memory.close()
