"""A serial line with faults, and the port on a pseudo terminal where hosts find its end.

Bytes take their time on the line, 8N1, ten bits a byte, and arrive in order. The line has no clock:
time is an argument, so that the same line serves the emulated motor controller in real time and in
lockstep. The port behaves like a serial adapter on USB: it can be pulled and put back.
"""

from __future__ import annotations

import contextlib
import os
import random
import termios
import tty
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from sim.errors import ParameterError, SimError

_BITS_PER_BYTE = 10
_NS_PER_S = 1_000_000_000
_READ_SIZE = 4096


@dataclass(slots=True)
class LineFaults:
    """What goes wrong on a line, from the next byte sent on.

    Attributes:
        drop: Probability that a byte is lost.
        flip: Probability that one bit of a byte turns over.
        duplicate: Probability that a byte arrives twice.
        delay_ns: Time by which every byte arrives later.
        repeat: Probability that a chunk, all bytes of one ``send``, arrives twice.
        swap: Probability that a chunk arrives after the next one, as a USB hub may do.
        hold_ns: The host's adapter passes bytes on to it only this often, as FTDI's do by their
            latency timer; 0 passes them on at once.
    """

    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    delay_ns: int = 0
    repeat: float = 0.0
    swap: float = 0.0
    hold_ns: int = 0


class OneWay:
    """One direction of a line.

    Args:
        baud: Bits per second.
        faults: What goes wrong; may be changed at any time.
        generator: Decides which bytes are hit.
        is_held: It ends at the adapter that holds bytes, if that is among the faults.
    """

    def __init__(
        self, baud: int, faults: LineFaults, generator: random.Random, *, is_held: bool = False
    ) -> None:
        self._baud = baud
        self._is_held = is_held
        self._swapped = b""
        self._faults = faults
        self._generator = generator
        # Chunks under way: the bytes that have not arrived, and when the first of them started.
        self._under_way: deque[tuple[bytes, int]] = deque()
        self._free_ns = 0
        self._stalled_until_ns = 0

    @property
    def queued(self) -> int:
        """Bytes sent and not received yet."""
        return sum(len(data) for data, _ in self._under_way)

    def send(self, data: bytes, t_ns: int) -> None:
        """Put bytes on the line; they start when those before them have passed."""
        data = self._shuffled(self._damaged(data))
        if not data:
            return
        start_ns = max(t_ns, self._free_ns)
        self._free_ns = start_ns + self._duration_ns(len(data))
        self._under_way.append((data, start_ns + self._faults.delay_ns))

    def receive(self, t_ns: int) -> bytes:
        """Take the bytes that have arrived by now."""
        if t_ns < self._stalled_until_ns:
            return b""
        if self._is_held and self._faults.hold_ns:
            t_ns -= t_ns % self._faults.hold_ns
        arrived: list[bytes] = []
        while self._under_way:
            data, start_ns = self._under_way[0]
            count = max(0, (t_ns - start_ns) * self._baud // (_BITS_PER_BYTE * _NS_PER_S))
            if count < len(data):
                if count:
                    arrived.append(data[:count])
                    self._under_way[0] = (data[count:], start_ns + self._duration_ns(count))
                break
            arrived.append(data)
            self._under_way.popleft()
        return b"".join(arrived)

    def stall(self, until_ns: int) -> None:
        """Deliver nothing until then; what arrives meanwhile comes at once when it is over."""
        self._stalled_until_ns = until_ns

    def clear(self) -> None:
        """Lose what is under way."""
        self._under_way.clear()
        self._swapped = b""
        self._free_ns = 0

    def _duration_ns(self, count: int) -> int:
        """Return the time of ``count`` bytes, rounded up so that no byte arrives early."""
        return -(-count * _BITS_PER_BYTE * _NS_PER_S // self._baud)

    def _shuffled(self, data: bytes) -> bytes:
        """Return what is sent in place of a chunk where chunks are repeated or change places."""
        faults, chance = self._faults, self._generator.random
        if data and faults.repeat and chance() < faults.repeat:
            data += data
        if data and faults.swap and not self._swapped and chance() < faults.swap:
            self._swapped = data
            return b""
        if data and self._swapped:
            data, self._swapped = data + self._swapped, b""
        return data

    def _damaged(self, data: bytes) -> bytes:
        faults, chance = self._faults, self._generator.random
        if faults.drop == faults.flip == faults.duplicate == 0.0:
            return data
        damaged = bytearray()
        for byte in data:
            if chance() < faults.drop:
                continue
            if chance() < faults.flip:
                byte ^= 1 << self._generator.randrange(8)
            damaged.append(byte)
            if chance() < faults.duplicate:
                damaged.append(byte)
        return bytes(damaged)


class SerialLine:
    """Both directions of a line between a host and a board; faults strike both alike.

    Only bytes for the host are held by its adapter.

    Args:
        baud: Bits per second.
        seed: Seed of the faults.

    Raises:
        ParameterError: The baud rate is not positive.
    """

    def __init__(self, baud: int, seed: int = 0) -> None:
        if baud <= 0:
            raise ParameterError(f"baud rate {baud} is impossible: it must be positive")
        self.faults = LineFaults()
        self.to_board = OneWay(baud, self.faults, random.Random(f"{seed} to board"))
        self.to_host = OneWay(baud, self.faults, random.Random(f"{seed} to host"), is_held=True)

    def stall(self, until_ns: int) -> None:
        """Deliver nothing either way until then."""
        self.to_board.stall(until_ns)
        self.to_host.stall(until_ns)

    def clear(self) -> None:
        """Lose what is under way, as when the cable is pulled."""
        self.to_board.clear()
        self.to_host.clear()


class PtyError(SimError):
    """The port cannot be offered; the message names the path and the cure."""


class PtyPort:
    """The board's end of a serial port for hosts on this machine; starts plugged in.

    Hosts open a symbolic link whose path stays the same, as udev's links by id do. Each time the
    port is plugged in, the link points to a new terminal. Nothing here waits.

    Args:
        path: Where hosts find it; becomes a symbolic link.

    Raises:
        PtyError: Something else lies at that path, or the link cannot be made there.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_symlink():
            raise PtyError(f"{path} is in the way: remove it, or choose another path with --link")
        self.path = path
        self._board_fd = -1
        self._host_fd = -1
        self.plug()

    @property
    def plugged(self) -> bool:
        """Whether hosts can see the port."""
        return self._board_fd >= 0

    def plug(self) -> None:
        """Show a new terminal at the path. Idempotent.

        Raises:
            PtyError: The link cannot be made.
        """
        if self.plugged:
            return
        # This handle on the host's end keeps the terminal raw and alive between two hosts.
        self._board_fd, self._host_fd = os.openpty()
        tty.setraw(self._host_fd)
        os.set_blocking(self._board_fd, False)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            fresh.symlink_to(os.ttyname(self._host_fd))
            fresh.replace(self.path)
        except OSError as error:
            self.unplug()
            raise PtyError(f"cannot make {self.path}: {error.strerror}") from error

    def unplug(self) -> None:
        """Hang up on the host that has the port open and take the port away. Idempotent."""
        if not self.plugged:
            return
        with contextlib.suppress(OSError):
            if os.readlink(self.path) == os.ttyname(self._host_fd):
                self.path.unlink()
        os.close(self._board_fd)
        os.close(self._host_fd)
        self._board_fd = self._host_fd = -1

    def read(self) -> bytes:
        """Return the bytes that hosts have written; b"" if there are none."""
        if not self.plugged:
            return b""
        try:
            return os.read(self._board_fd, _READ_SIZE)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> bool:
        """Pass bytes on to the host; return False if older ones, not read yet, were lost.

        A full terminal is emptied and filled anew, so that a host that comes back finds the last
        few hundred milliseconds and nothing older.
        """
        if not (data and self.plugged):
            return True
        written = self._write(data)
        if written == len(data):
            return True
        termios.tcflush(self._host_fd, termios.TCIFLUSH)
        self._write(data[written:])
        return False

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._board_fd, data)
        except BlockingIOError:
            return 0
