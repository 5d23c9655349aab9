"""Lines for another process that the control loop sends between two ticks."""

from __future__ import annotations

import json
import socket
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
