"""The black box: every tick of a run in an MCAP file, while the run lasts, whatever ends it.

The control loop copies each tick's row into a ring of shared memory, which takes about a
microsecond, no lock and no system call. A process of its own, ``deploy.record.black_box_writer``,
takes the rows from there and writes them. It is a process and no thread for two reasons. A thread
that packs and compresses takes the interpreter's lock for up to 5 ms at a time, most of a control
period. And a process outlives the loop: when the loop is killed, all that is in the ring still
reaches the file, and the file is closed properly.

A slow or full disk fills the ring, never the loop: ticks for which there is no room are counted and
left out. The file goes to the disk twice a second, so that a loss of power costs less than a second
of it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.record.line_sender import LineSender, start_beside
from deploy.record.tick_row import SCHEMA_NAME, TickRow

# The ring holds the ticks of this time. A disk that stands still for longer costs ticks.
_RING_S = 20.0
# Places in the head of the ring, in words of 8 bytes, each in a cache line of its own: ticks put,
# ticks taken, the first tick that found no room, plus 1, and the time since 1970, ns, at which the
# loop's clock was 0.
PUT, TAKEN, FIRST_LOST, UNIX_NS = 0, 8, 16, 24
HEAD_BYTES = 4096
# How long a run waits for the writer: at its start to be ready, at its end to complete the file.
_START_S, _END_S = 10.0, 10.0


@dataclass(frozen=True, slots=True)
class BlackBoxReport:
    """What became of the ticks of a run.

    Attributes:
        file: The MCAP file.
        ticks: Ticks that are in it.
        ticks_lost: Ticks that are not.
        lost_since_tick: The first of these; None without.
        cause: Why, and what to do about it; "" if none was lost.
    """

    file: str
    ticks: int
    ticks_lost: int = 0
    lost_since_tick: int | None = None
    cause: str = ""

    def describe(self) -> str:
        """Return what was lost in one line for people; "" if nothing was."""
        if not self.ticks_lost:
            return ""
        return (
            f"{self.file} lacks {self.ticks_lost} of {self.ticks + self.ticks_lost} ticks, from "
            f"tick {self.lost_since_tick} on: {self.cause}"
        )


class BlackBox:
    """The loop's side of the black box. Its writer is started at once, its file is made later.

    Args:
        row: Layout of the ticks.
        period_s: Control period, about.

    Attributes:
        row: Layout of the ticks.
        ring: Descriptor of the ring's memory, for a process that looks at the newest ticks.
        rows: How many ticks the ring holds.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, row: TickRow, period_s: float) -> None:
        self.row, self._woke_at = row, row.offset("woke_ns")
        self.rows = math.ceil(_RING_S / period_s)
        self._put = self._lost = 0
        self._path: Path | None = None
        self._report: BlackBoxReport | None = None
        self.ring = shared_memory(HEAD_BYTES + self.rows * row.nbytes)
        try:
            whole = np.frombuffer(mmap.mmap(self.ring, 0), np.uint8)
            whole[:] = 0  # so that no page has to be fetched within a tick
            self._head = whole[:HEAD_BYTES].view(np.uint64)
            self._ticks = whole[HEAD_BYTES:].reshape(self.rows, row.nbytes)
            self._process, self._socket = start_beside("deploy.record.black_box_writer", self.ring)
            self._lines = LineSender(self._socket)
        except BaseException:
            os.close(self.ring)
            raise

    def begin(self, path: Path, about: Mapping[str, str]) -> None:
        """Make the file and wait until the writer is ready, so that it disturbs no loop.

        A writer that is not ready in time costs log at worst, and the report says so.

        Args:
            path: The file, made anew.
            about: What explains the run, by name: becomes the metadata of the file.

        Raises:
            OSError: The file cannot be made.
        """
        row = self.row
        head = {
            "row_bytes": row.nbytes,
            "rows": self.rows,
            "offsets": {name: row.offset(name) for name in row.dtype.names or ()},
            "schema_name": SCHEMA_NAME,
            "schema": row.schema().hex(),
            "about": dict(about),
        }
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._path = path
        self._socket.settimeout(_START_S)
        try:
            socket.send_fds(self._socket, [b"f"], [file])
            self._socket.sendall(json.dumps(head).encode() + b"\n")
            self._socket.recv(1)
        except OSError:
            pass  # the writer is gone or slow, which the report says
        finally:
            os.close(file)
            self._socket.setblocking(False)

    @property
    def pid(self) -> int:
        """Number of the writer's process."""
        return self._process.pid

    def put(self, row: NDArray[np.uint8]) -> None:
        """Copy a tick's row, shape (bytes,), into the ring, or count it as lost; never waits."""
        tick = self._put + self._lost
        if self._put - int(self._head[TAKEN]) >= self.rows:
            if not self._lost:
                self._head[FIRST_LOST] = tick + 1
            self._lost += 1
            return
        self._ticks[self._put % self.rows] = row
        self._put += 1
        if self._put == 1:
            self._head[UNIX_NS] = time.time_ns() - (self._newest_ns() or 0)
        self._head[PUT] = self._put  # last, so that a row in the ring is a whole one

    def _newest_ns(self) -> int | None:
        """Return when the newest tick began; None before the first."""
        if not self._put:
            return None
        newest = self._ticks[(self._put - 1) % self.rows]
        return int(struct.unpack_from("<q", newest, self._woke_at)[0])

    def note(self, text: str, *, error: bool = False) -> None:
        """Write a line for people at the time of the newest tick; never waits."""
        self._lines.send({"t_ns": self._newest_ns(), "note": text, "error": error})

    def count(self, counters: Mapping[str, int]) -> None:
        """Write the counters of the link to the motor controller; never waits."""
        self._lines.send({"t_ns": self._newest_ns(), "counters": dict(counters)})

    def close(self) -> BlackBoxReport:
        """Let the writer complete the file; return what became of the ticks. Idempotent."""
        if self._report is None:
            os.close(self.ring)
            self._report = self._end()
        return self._report

    def _end(self) -> BlackBoxReport:
        if self._path is None:  # there is no file
            self._process.kill()
        answer = b""
        with self._socket as connection:
            connection.settimeout(_END_S)
            try:
                connection.sendall(self._lines.pending + b'{"end": true}\n')
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(4096):
                    answer += part
            except TimeoutError:
                return self._without_answer(
                    f"the disk is slow: the file was not complete after {_END_S:.0f} s, and is "
                    "still being written"
                )
            except OSError:
                answer = b""
        code = self._process.wait()
        try:
            found = json.loads(answer)
        except ValueError:
            return self._without_answer(f"its writer ended too early (exit {code})")
        slow = "the disk was too slow: take a faster one, or stop what uses it"
        return self._reported(int(found["ticks"]), found["cause"] or slow)

    def _without_answer(self, cause: str) -> BlackBoxReport:
        """Return a report on what the writer had taken when it was last seen: that may be less."""
        return self._reported(int(self._head[TAKEN]), cause)

    def _reported(self, ticks: int, cause: str) -> BlackBoxReport:
        lost = self._put + self._lost - ticks
        if not lost:
            return BlackBoxReport(str(self._path), ticks)
        return BlackBoxReport(str(self._path), ticks, lost, self._first_lost(ticks), cause)

    def _first_lost(self, ticks: int) -> int:
        """Return the first tick that found no room, or the first after those written."""
        first = int(self._head[FIRST_LOST])
        return min(first - 1, ticks) if first else ticks


def shared_memory(size: int) -> int:
    """Return a file descriptor of memory that child processes can share; it has no name."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("minitaur-black-box")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
