"""The process that writes the black box of a run; ``deploy.record.black_box`` starts it.

It looks into the ring ten times a second, and takes what was there at the look before. So a row
that it takes is older than a look, and whole in any processor's memory. Every half second a chunk
of the file is finished and goes to the disk. A chunk that the disk does not take is cut off again
and tried again later; meanwhile nothing is taken from the ring. The end of the loop, by whatever
cause, is the end of the connection to it: the ring is emptied and the file completed.

Memory does not grow with the run, but for the index of the file: some 20 MB in an hour.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

import numpy as np
from mcap.writer import Writer
from numpy.typing import NDArray

from deploy.loop.modes import LoopMode
from deploy.record.black_box import HEAD_BYTES, PUT, TAKEN, UNIX_NS
from robot_firmware_bridge.geometry import quaternion_from_rpy

METADATA = "minitaur-run"
TICKS, LOG, POSE, LINK = "/tick", "/log", "/pose", "/link"

_LOOK_S = 0.1
_FLUSH_S = 0.5
# A disk that takes nothing is tried again so often after the end of the run.
_LAST_TRIES = 3
# Less than the control loop, which may have no rights to be more than an ordinary process.
_NICE = 5
# Poses are for people who watch: every so many ticks one.
_POSE_TICKS = 10
_NS_PER_S = 1_000_000_000
# Levels of foxglove.Log.
_INFO, _ERROR = 2, 4

_TIME = {
    "type": "object",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


_NUMBER, _TEXT, _INTEGER = ({"type": kind} for kind in ("number", "string", "integer"))
# Foxglove knows the first two by their names; see docs.foxglove.dev/docs/sdk/schemas.
_SCHEMAS: dict[str, tuple[str, dict[str, Any]]] = {
    LOG: (
        "foxglove.Log",
        _object(timestamp=_TIME, level=_INTEGER, message=_TEXT, name=_TEXT, file=_TEXT),
    ),
    POSE: (
        "foxglove.FrameTransform",
        _object(
            timestamp=_TIME,
            parent_frame_id=_TEXT,
            child_frame_id=_TEXT,
            translation=_object(x=_NUMBER, y=_NUMBER, z=_NUMBER),
            rotation=_object(x=_NUMBER, y=_NUMBER, z=_NUMBER, w=_NUMBER),
        ),
    ),
    LINK: ("minitaur.LinkCounters", {"type": "object"}),
}


class Disk(io.BytesIO):
    """A file that grows by whole pieces: what was written since the last commit is in memory.

    Args:
        descriptor: The open file; closed with this.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._committed = 0

    def tell(self) -> int:
        """Return the place in the file at which the next byte goes."""
        return self._committed + super().tell()

    def commit(self) -> None:
        """Bring what is in memory to the disk.

        Raises:
            OSError: The disk did not take it; the file ends where it did before, and what is in
                memory stays there.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError("the file was removed while the run lasted")
        data = self.getbuffer()
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], self._committed + done)
            _sync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._committed)
            raise
        finally:
            data.release()
        self._committed += done
        self.drop()

    def drop(self) -> None:
        """Forget what is in memory."""
        self.seek(0)
        self.truncate()


class LogFile:
    """The MCAP file: ticks and notes in, chunks out.

    Args:
        descriptor: The open file.
        head: What the loop said of the run.

    Attributes:
        unix_ns: Time since 1970 at which the loop's clock was 0; set before the first tick.
        ticks: Ticks that are on the disk.
        cause: Why the last try to write failed; "" if it did not.
    """

    def __init__(self, descriptor: int, head: dict[str, Any]) -> None:
        self._disk = Disk(descriptor)
        # A chunk ends when it is flushed.
        self._writer = Writer(self._disk, chunk_size=1 << 30, enable_data_crcs=True)
        self._offsets = head["offsets"]
        self._mode: int | None = None
        self._waiting = 0
        self.unix_ns, self.ticks, self.cause = 0, 0, ""
        self._writer.start(library="minitaur")
        self._writer.add_metadata(METADATA, head["about"])
        schema = self._writer.register_schema(
            head["schema_name"], "protobuf", bytes.fromhex(head["schema"])
        )
        self._channels = {TICKS: self._writer.register_channel(TICKS, "protobuf", schema)}
        for topic, (name, described) in _SCHEMAS.items():
            text = json.dumps({"title": name, **described}).encode()
            schema = self._writer.register_schema(name, "jsonschema", text)
            self._channels[topic] = self._writer.register_channel(topic, "json", schema)
        self.note(None, "the black box begins")
        self.flush()

    @property
    def is_behind(self) -> bool:
        """Whether the disk did not take what it was last given."""
        return self.cause != ""

    def tick(self, row: bytes) -> None:
        """Add a tick; a change of its mode gets a line of its own."""
        number, woke_ns = self._value(row, "tick", "I"), self._value(row, "woke_ns", "q")
        unix_ns = self.unix_ns + woke_ns
        self._writer.add_message(self._channels[TICKS], unix_ns, row, unix_ns, number)
        self._waiting += 1
        mode = self._value(row, "mode", "b")
        if mode != self._mode:
            self._mode = mode
            self.note(woke_ns, f"mode {LoopMode(mode).name}")
        if number % _POSE_TICKS == 0:
            self._pose(unix_ns, row)

    def note(self, t_ns: int | None, text: str, error: bool = False) -> None:
        """Add a line for people, at a time of the loop's clock or now."""
        level = _ERROR if error else _INFO
        self._json(LOG, self._time(t_ns), level=level, message=text, name="minitaur", file="")

    def counters(self, t_ns: int | None, values: dict[str, int]) -> None:
        """Add the counters of the link, at a time of the loop's clock or now."""
        self._json(LINK, self._time(t_ns), **values)

    def _time(self, t_ns: int | None) -> int:
        return self.unix_ns + t_ns if t_ns is not None and self.unix_ns else time.time_ns()

    def flush(self) -> None:
        """Finish the chunk and bring it to the disk; see ``is_behind``."""
        self._writer.flush()
        self._commit()

    def finish(self) -> None:
        """Complete the file. Where the disk does not take that, it ends with its last chunk."""
        self.flush()
        if self.is_behind:
            return
        self._writer.finish()
        self._commit()
        self.cause = ""  # without its index, too, all ticks are there

    def _commit(self) -> None:
        try:
            self._disk.commit()
        except FileNotFoundError as error:
            self.ticks, self.cause = 0, str(error)
        except OSError as error:
            self.cause = f"{error.strerror}: make room on the disk"
        else:
            self.ticks += self._waiting
            self._waiting, self.cause = 0, ""

    def _pose(self, unix_ns: int, row: bytes) -> None:
        rpy_rad, position_m = self._values(row, "rpy_rad"), self._values(row, "base_position_m")
        if not np.isfinite(rpy_rad).all():
            return
        if not np.isfinite(position_m).all():  # where the robot is, nobody knows
            position_m = np.zeros(3)
        self._json(
            POSE,
            unix_ns,
            parent_frame_id="world",
            child_frame_id="body",
            translation=dict(zip("xyz", position_m.tolist(), strict=True)),
            rotation=dict(zip("xyzw", quaternion_from_rpy(rpy_rad).tolist(), strict=True)),
        )

    def _json(self, topic: str, unix_ns: int, **fields: Any) -> None:
        sec, nsec = divmod(unix_ns, _NS_PER_S)
        text = json.dumps({"timestamp": {"sec": sec, "nsec": nsec}, **fields}).encode()
        self._writer.add_message(self._channels[topic], unix_ns, text, unix_ns)

    def _value(self, row: bytes, name: str, kind: str) -> int:
        return int(struct.unpack_from(f"<{kind}", row, self._offsets[name])[0])

    def _values(self, row: bytes, name: str) -> NDArray[np.float64]:
        return np.frombuffer(row, "<f8", 3, self._offsets[name]).astype(np.float64)


class Loop:
    """The writer's end of the connection to the control loop."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._text = b""
        self.head: dict[str, Any] = json.loads(self._line())
        self.said_the_end = False

    def _line(self) -> bytes:
        while b"\n" not in self._text:
            part = self._connection.recv(1 << 16)
            if not part:
                raise EOFError("the control loop ended before it began")
            self._text += part
        line, _, self._text = self._text.partition(b"\n")
        return line

    def hear(self, log: LogFile, wait_s: float) -> bool:
        """Write down what the loop says within a time; return False at once when it has ended."""
        end_s = time.monotonic() + wait_s
        while True:
            while b"\n" in self._text:
                self._take(log, json.loads(self._line()))
            left_s = end_s - time.monotonic()
            if left_s <= 0.0 or not select.select([self._connection], [], [], left_s)[0]:
                return True
            try:
                part = self._connection.recv(1 << 16)
            except OSError:
                part = b""
            if not part:
                return False
            self._text += part

    def _take(self, log: LogFile, message: dict[str, Any]) -> None:
        if "note" in message:
            log.note(message["t_ns"], message["note"], message["error"])
        elif "counters" in message:
            log.counters(message["t_ns"], message["counters"])
        else:
            self.said_the_end = True

    def answer(self, log: LogFile) -> None:
        """Say what was written."""
        with contextlib.suppress(OSError):  # killed: nobody is there
            text = json.dumps({"ticks": log.ticks, "cause": log.cause})
            self._connection.sendall(text.encode())


def write(ring: int, connection: socket.socket) -> None:
    """Write the black box until the control loop has ended."""
    _, files, _, _ = socket.recv_fds(connection, 1, 1)
    if not files:
        raise EOFError("the control loop ended before it began")
    loop = Loop(connection)
    log = LogFile(files[0], loop.head)
    connection.sendall(b"r")
    size, row_bytes = int(loop.head["rows"]), int(loop.head["row_bytes"])
    memory = mmap.mmap(ring, 0)
    head = np.frombuffer(memory, np.uint64, HEAD_BYTES // 8)
    taken = seen = 0

    def take(until: int) -> None:
        nonlocal taken
        log.unix_ns = int(head[UNIX_NS])
        while taken < until:
            place = HEAD_BYTES + taken % size * row_bytes
            log.tick(memory[place : place + row_bytes])
            taken += 1
        head[TAKEN] = taken

    flushed_s = time.monotonic()
    while loop.hear(log, _LOOK_S):
        if not log.is_behind:
            take(seen)
        seen = int(head[PUT])
        if time.monotonic() - flushed_s >= _FLUSH_S:
            flushed_s = time.monotonic()
            log.flush()
    for _ in range(_LAST_TRIES):
        log.flush()
        if not log.is_behind:
            break
        time.sleep(_FLUSH_S)
    if not log.is_behind:
        take(int(head[PUT]))
        if not loop.said_the_end:
            log.note(None, "the control loop was killed: this is all that it left", error=True)
        log.finish()
    loop.answer(log)


def _sync(descriptor: int) -> None:
    """Bring a file's bytes to the disk."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def main(arguments: list[str]) -> None:
    """Run the writer: descriptors of the ring and of the connection to the loop."""
    ring, connection = map(int, arguments)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with socket.socket(fileno=connection) as loop, contextlib.suppress(EOFError):
        write(ring, loop)


if __name__ == "__main__":
    main(sys.argv[1:])
