"""A pseudo terminal that behaves like a serial adapter on USB: it can be pulled and put back.

Hosts open a symbolic link whose path stays the same, as udev's links by id do; each time it is
plugged in it points to a new terminal. Nothing here waits.
"""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from pathlib import Path

from sim.errors import SimError

_READ_SIZE = 4096


class PtyError(SimError):
    """The port cannot be offered; the message names the path and the cure."""


class PtyPort:
    """The board's end of a serial port for hosts on this machine; starts plugged in.

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
        # Our own handle on the host's end keeps the terminal raw and alive between two hosts.
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
        """Hang up on whoever has the port open and take it away. Idempotent."""
        if not self.plugged:
            return
        with contextlib.suppress(OSError):
            if os.readlink(self.path) == os.ttyname(self._host_fd):
                self.path.unlink()
        os.close(self._board_fd)
        os.close(self._host_fd)
        self._board_fd = self._host_fd = -1

    def read(self) -> bytes:
        """Bytes that hosts have written; b"" if there are none."""
        if not self.plugged:
            return b""
        try:
            return os.read(self._board_fd, _READ_SIZE)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> bool:
        """Pass bytes on to the host; False if older ones that it had not read were lost.

        Where no host reads, a full terminal is emptied and filled anew, so that a host that comes
        back finds the last few hundred milliseconds and never what is older.
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

    def close(self) -> None:
        """Take the port away for good. Idempotent."""
        self.unplug()
