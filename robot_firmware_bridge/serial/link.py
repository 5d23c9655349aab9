"""A session's link to its board: a serial port, read by a thread of its own.

The thread stamps what arrives, notices when the port goes away and opens it again, so that states
arrive as soon as the cable is back. It arms no board: the caller that lost a robot has to do that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import serial

from robot_firmware_bridge.errors import LinkError, LinkLostError, NoBoardError
from robot_firmware_bridge.protocol.board_clock import line_ns
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, wire_bytes
from robot_firmware_bridge.protocol.session import Counters, Session
from robot_firmware_bridge.protocol.wire import Hello
from robot_firmware_bridge.serial.ports import (
    list_ports,
    low_latency,
    open_port,
    why_late,
    why_stuck,
)

BAUD = 921_600

_REOPEN_S = 0.05
_WAKE_S = 0.02
_PROBE_S = 0.3
# Below a control loop of SCHED_FIFO 80, so that the reader never delays it.
_FIFO_PRIORITY = 79
# The error of termios is no OSError.
_GONE = (OSError, termios.error)

_logger = logging.getLogger(__name__)


class LineSession(Protocol):
    """What a link asks of the session whose bytes it carries."""

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes that arrived; never raises, whatever they are."""

    def due(self, now_ns: int) -> bytes:
        """Return what must be sent now so that states arrive, or nothing."""

    def reconnected(self) -> None:
        """Start anew after the link came back."""


_Session = TypeVar("_Session", bound=LineSession)
_SessionOut = TypeVar("_SessionOut", bound=LineSession, covariant=True)


class Link(Protocol[_SessionOut]):
    """What carries a session's bytes, both ways.

    It feeds ``session.receive`` with what arrives and sends what ``session.due`` returns, at least
    as often as ``poll`` and ``wait`` are called. Its ``str`` names the line.
    """

    @property
    def session(self) -> _SessionOut:
        """The conversation that it carries."""

    def send(self, data: bytes) -> None:
        """Send one frame.

        Raises:
            LinkError: It cannot be sent; LinkLostError if the port is gone.
        """

    def poll(self) -> None:
        """Bring the session up to date, without waiting.

        Raises:
            LinkLostError: The port is gone, or was since the last such error.
        """

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Keep the session up to date until the condition holds; return whether it does.

        Raises:
            LinkLostError: The port is gone, or was since the last such error.
        """

    def now_ns(self) -> int:
        """Return the time on the clock of the session's stamps."""

    def why_late(self) -> str:
        """Return what may hold bytes back on this line, and the cure."""

    def close(self) -> None:
        """Release the port. Idempotent; never raises."""


class PortLink(Generic[_Session]):
    """A serial port, kept open.

    Args:
        port: Path of the device.
        baud: Bits per second.
        session: The conversation on it.
        realtime: Read in a thread of real-time priority, where the system permits it.
        lines_low: Keep DTR and RTS low, as for a device that may be a stranger's.

    Attributes:
        session: The conversation on this line.
        low_latency: Whether the driver passes bytes on at once.
        realtime: Whether real-time priority was asked for and granted.

    Raises:
        PortError: The port cannot be opened.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        session: _Session,
        *,
        realtime: bool = False,
        lines_low: bool = False,
    ) -> None:
        self._path, self._baud, self._lines_low = port, baud, lines_low
        self._port: serial.Serial | None = open_port(port, baud, lines_low=lines_low)
        self.session = session
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._loss = ""
        self._unreported = False
        self._reported: serial.Serial | None = None
        self.low_latency = low_latency(self._port)
        self._thread = threading.Thread(target=self._run, name=f"reader of {port}", daemon=True)
        self._thread.start()
        self.realtime = realtime and _enter_fifo(self._thread)

    def __str__(self) -> str:
        return f"{self._path} at {self._baud} baud"

    def duplicate(self) -> int:
        """Return a new file descriptor of the open port, which the caller closes.

        Raises:
            LinkLostError: The port is gone.
        """
        with self._changed:
            return os.dup(self._connected().fileno())

    def now_ns(self) -> int:
        """Return the time of CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def why_late(self) -> str:
        """Return what may hold bytes back on this port, and the cure."""
        return why_late(self._path)

    def send(self, data: bytes) -> None:
        """Send one frame; see :class:`Link`."""
        with self._changed:
            self._send(self._connected(), data)

    def poll(self) -> None:
        """Take what has arrived, without waiting for the reader; see :class:`Link`."""
        with self._changed:
            port = self._connected()
            try:
                self._receive(port)
            except _GONE as error:
                raise self._lost(port, error) from error

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the condition holds or time is up; see :class:`Link`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._unreported or self._port is None or condition(), timeout_s
            )
            self._connected()
            return condition()

    def close(self) -> None:
        """Stop the reader and close the port. Idempotent; never raises."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # --- with the lock held -------------------------------------------------------------------

    def _connected(self) -> serial.Serial:
        """Return the open port. Every loss is raised once, even if the port is back by now."""
        if self._port is None or self._port is self._reported or self._unreported:
            self._unreported = False
            raise LinkLostError(self._loss or f"{self._path} is closed")
        return self._port

    def _lost(self, port: serial.Serial, error: Exception) -> LinkLostError:
        """Return the error for a port that broke and that the reader has not found broken yet."""
        self._reported, self._loss = port, self._loss_of(error)
        return LinkLostError(self._loss)

    def _loss_of(self, error: Exception) -> str:
        return f"the link over {self._path} was lost ({error}); check cable and power of the board"

    def _send(self, port: serial.Serial, data: bytes) -> None:
        began_s = time.monotonic()
        try:
            port.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkError(why_stuck(self._path, time.monotonic() - began_s)) from error
        except _GONE as error:
            raise self._lost(port, error) from error

    def _receive(self, port: serial.Serial) -> None:
        # A read of one byte where none waits shows a hang-up; it does not wait either.
        data = port.read(port.in_waiting or 1)
        if data:
            self.session.receive(data, time.monotonic_ns())
            self._changed.notify_all()

    # --- the reader ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                if self._port is None:
                    self._reopen()
                else:
                    self._serve(self._port)
        finally:
            with self._changed:
                if self._port is not None:
                    self._port.close()
                    self._port = None

    def _serve(self, port: serial.Serial) -> None:
        """Wait a little for bytes, take them, and send a hello if one is due."""
        began_s = time.monotonic()
        try:
            select.select([port.fileno()], [], [], _WAKE_S)
            with self._changed:
                self._receive(port)
                hello = self.session.due(time.monotonic_ns())
                began_s = time.monotonic()
                if hello:
                    port.write(hello)
        except serial.SerialTimeoutException:
            _logger.warning(why_stuck(self._path, time.monotonic() - began_s))
        except _GONE as error:
            with self._changed:
                port.close()
                self._port = None
                self._loss, self._unreported = self._loss_of(error), self._reported is not port
                self._changed.notify_all()

    def _reopen(self) -> None:
        self._closing.wait(_REOPEN_S)
        try:
            port = open_port(self._path, self._baud, lines_low=self._lines_low)
        except LinkError:
            return
        self.low_latency = low_latency(port)
        with self._changed:
            self._port = port
            self.session.reconnected()


class SerialLink(PortLink[Session]):
    """The port of a board with this stack's firmware; arguments of :class:`PortLink`."""

    def __init__(
        self, port: str, baud: int = BAUD, *, realtime: bool = False, lines_low: bool = False
    ) -> None:
        session = Session(line_ns(wire_bytes("state"), max(baud, 1)))
        super().__init__(port, baud, session, realtime=realtime, lines_low=lines_low)


def find_port(baud: int = BAUD) -> str:
    """Return the path of the board's port: the one USB serial port of this computer.

    The adapters that boards have are those of many other devices, so their USB numbers prove
    nothing. With several ports nothing is opened. The one port is listened to before a byte is
    sent, and a device that says something else is sent nothing. DTR and RTS stay low: on many
    devices they are the reset.

    Raises:
        NoBoardError: There is no such port, there are several, or no board answers.
        PortError: The port cannot be opened.
    """
    ports = list_ports()
    adapters = [port for port in ports if port.is_usb]
    names = ", ".join(f"{port.path} ({port.description})" for port in adapters or ports) or "none"
    if len(adapters) > 1:
        raise NoBoardError(
            f"several ports may be the board's: name one with --port (PORT=): {names}"
        )
    if not adapters:
        raise NoBoardError(
            f"no USB serial port is here: plug the board in, or name its port with "
            f"--port (PORT=); ports found: {names}"
        )
    path = adapters[0].path
    with contextlib.closing(SerialLink(path, baud, lines_low=True)) as link:
        counters = _listen(link)
        if counters.bytes_received and not counters.frames:
            raise NoBoardError(
                f"what is behind {names} sends {counters.bytes_received} bytes that are no board's "
                f"at {baud} baud, and was sent nothing: if it is the board, see to its baud rate"
            )
        if not counters.frames:
            # Without a robot's hash, the board does not take this for its host.
            link.session.introduce(Hello(PROTOCOL_HASH, 0, 0, 0))
            if not link.wait(lambda: link.session.identity is not None, _PROBE_S):
                raise NoBoardError(
                    f"no board answers at {baud} baud behind {names}: if it is there, name its "
                    f"port with --port (PORT=), which raises DTR and RTS"
                )
    return path


def _listen(link: SerialLink) -> Counters:
    """Return what came over a link on which nothing was asked."""
    link.wait(lambda: link.session.counters.frames > 0, _PROBE_S)
    return link.session.counters


def _enter_fifo(thread: threading.Thread) -> bool:
    """Give a thread real-time priority, if permitted; return whether it is."""
    if sys.platform != "linux" or thread.native_id is None:
        return False
    try:
        os.sched_setscheduler(thread.native_id, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except (PermissionError, ProcessLookupError):
        return False
    return True
