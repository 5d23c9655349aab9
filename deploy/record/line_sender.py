"""A process beside the control loop, and lines for it that the loop sends between two ticks."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

# What waits for a process that does not read; more is dropped.
_MAX_PENDING = 1 << 16


class LineSender:
    """Sends messages as lines of JSON over a socket; never waits.

    A line that the socket does not take goes with the next one. A process that is gone gets none,
    and nobody is told: it is for the process's own side to say so.

    Args:
        connection: Non-blocking by the time of the first message.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pending = b""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message, or drop it if too much waits by now."""
        if len(self.pending) < _MAX_PENDING:
            self.pending += json.dumps(message).encode() + b"\n"
        try:
            self.pending = self.pending[self._connection.send(self.pending) :]
        except BlockingIOError:
            pass  # with the next one
        except OSError:  # the process is gone
            self.pending = b""


def start_beside(
    module: str, ring: int, *words: str, stderr: int | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process that looks at the ring of the black box; return it, and a line to it.

    It gets the descriptors of the ring and of its end of the line as its first arguments. No signal
    of the terminal reaches it: the end of the line is its end.

    Args:
        module: What it runs.
        ring: Descriptor of the ring's memory.
        words: Further arguments.
        stderr: Where its errors go, as ``subprocess`` says it; None for those of this process.

    Raises:
        OSError: It cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(ring), str(theirs.fileno()), *words],
            pass_fds=(ring, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    return process, ours
