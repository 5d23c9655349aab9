"""A serial line: bytes take their time on the wire, arrive in order, and can be made to suffer.

No device and no clock of its own: time is passed in, so that the same line serves the emulated
motor controller in real time and in lockstep. 8N1: ten bits a byte.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from sim.errors import ParameterError

_BITS_PER_BYTE = 10
_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class LineFaults:
    """What goes wrong on a line, from the next byte sent on.

    Attributes:
        drop: Probability that a byte is lost.
        flip: Probability that one bit of a byte turns over.
        duplicate: Probability that a byte arrives twice.
        delay_ns: Time added to the way of every byte.
    """

    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    delay_ns: int = 0


class OneWay:
    """One direction of a line.

    Args:
        baud: Bits per second.
        faults: What goes wrong; may be changed at any time.
        generator: Decides which bytes suffer.
    """

    def __init__(self, baud: int, faults: LineFaults, generator: random.Random) -> None:
        self._baud = baud
        self._faults = faults
        self._generator = generator
        # Chunks under way: the bytes that have not arrived, and when the first of them set out.
        self._under_way: deque[tuple[bytes, int]] = deque()
        self._free_ns = 0
        self._stalled_until_ns = 0

    @property
    def queued(self) -> int:
        """Bytes sent that nobody has received."""
        return sum(len(data) for data, _ in self._under_way)

    def send(self, data: bytes, t_ns: int) -> None:
        """Put bytes on the line; they set out when those before them are through."""
        data = self._damaged(data)
        if not data:
            return
        start_ns = max(t_ns, self._free_ns)
        self._free_ns = start_ns + self._duration_ns(len(data))
        self._under_way.append((data, start_ns + self._faults.delay_ns))

    def receive(self, t_ns: int) -> bytes:
        """Take the bytes that have arrived by now."""
        if t_ns < self._stalled_until_ns:
            return b""
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
        self._free_ns = 0

    def _duration_ns(self, count: int) -> int:
        """Wire time of ``count`` bytes, rounded up so that no byte arrives early."""
        return -(-count * _BITS_PER_BYTE * _NS_PER_S // self._baud)

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
        self.to_host = OneWay(baud, self.faults, random.Random(f"{seed} to host"))

    def stall(self, until_ns: int) -> None:
        """Deliver nothing either way until then."""
        self.to_board.stall(until_ns)
        self.to_host.stall(until_ns)

    def clear(self) -> None:
        """Lose what is under way, as when the cable is pulled."""
        self.to_board.clear()
        self.to_host.clear()
