"""A browser without a screen: receives what the page of a live view is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

# Size of the message, and size of its compressed form, eight bytes each.
_HEAD_BYTES, _SIZES = 16, slice(8, 16)

# A page says where its camera is, and is a browser from then on.
_CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": (1.0, 0.0, 0.0, 0.0),
    "position": (1.0, 0.0, 0.0),
    "fov": 1.0,
    "near": 0.01,
    "far": 10.0,
    "image_height": 480,
    "image_width": 640,
    "look_at": (0.0, 0.0, 0.0),
    "up_direction": (0.0, 0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a page was sent in some time.

    Attributes:
        frames: How often the robot was drawn anew.
        seconds: The time.
        panel: The newest numbers, HTML; "" without.
    """

    frames: int
    seconds: float
    panel: str

    @property
    def frames_per_s(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


def watch(host: str, port: int, seconds: float) -> Watched:
    """Look at a page for some time."""
    frames, panel = 0, ""
    with connect(
        f"ws://{host}:{port}", subprotocols=[_version()], max_size=None, compression=None
    ) as socket:
        socket.send(msgspec.msgpack.encode(_CAMERA))
        begin_s = time.monotonic()
        while (left_s := begin_s + seconds - time.monotonic()) > 0.0:
            try:
                data = socket.recv(timeout=left_s, decode=False)
            except (TimeoutError, ConnectionClosed):  # nothing new, or the run is over
                break
            for message in _messages(data):
                moved = message["type"] == "SetOrientationMessage" and message["name"] == "/robot"
                frames += moved
                panel = message.get("updates", {}).get("content", panel)
    return Watched(frames, seconds, panel)


def _version() -> Any:
    """Return what a page asks for, to be answered by its own version."""
    return f"viser-v{viser.__version__}"


def _messages(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the messages of one packet; arrays are left out."""
    end = _HEAD_BYTES + int.from_bytes(data[_SIZES], "little")
    packet = msgspec.msgpack.decode(zstandard.decompress(data[_HEAD_BYTES:end]))
    yield from packet["messages"]
