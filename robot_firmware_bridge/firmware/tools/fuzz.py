"""Compare the two decoders of the protocol, Python's and C's, on damaged lines.

``python -m robot_firmware_bridge.firmware.tools.fuzz --bytes 10000000 --sanitize`` feeds both the
same bytes: frames that lost, gained, repeated or changed bytes, frames cut short and run together,
and noise. Both must find the same frames and count the same errors, in whatever portions the bytes
come, and neither may find a frame that was not sent.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.firmware.library import build_library, load
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import MESSAGES, MessageLayout

# Sent frames between two comparisons.
_FRAMES_PER_ROUND = 60
_OUT_BYTES = 1 << 16
_SIZES = {layout.id: layout.struct.size for layout in MESSAGES.values()}


class DecodersDisagree(BridgeError):
    """The decoders differ, or found a frame that was not sent."""


@dataclass(slots=True)
class Summary:
    """What a run of the fuzzer did: bytes fed, frames sent and found, errors of every decoder."""

    bytes: int = 0
    sent: int = 0
    frames: int = 0
    crc_errors: int = 0
    framing_errors: int = 0


class CDecoder:
    """The firmware's decoder."""

    def __init__(self, library: Path) -> None:
        self._probe = load(library)
        self._probe.probe_decoder_start()
        self._out = ctypes.create_string_buffer(_OUT_BYTES)
        self._counters = (ctypes.c_uint32 * 3)()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames found, each as the bytes that the firmware's encoder makes of it."""
        size = self._probe.probe_decoder_feed(data, len(data), self._out, _OUT_BYTES)
        found = ctypes.string_at(self._out, size)
        frames, at = [], 0
        while at < size:
            end = at + 1 + _SIZES[found[at]]
            frame = ctypes.create_string_buffer(256)
            length = self._probe.probe_encode(found[at], found[at + 1 : end], frame)
            frames.append(frame.raw[:length])
            at = end
        return frames

    @property
    def counters(self) -> tuple[int, int, int]:
        """Frames, CRC errors, framing errors."""
        self._probe.probe_decoder_counters(self._counters)
        frames, crc_errors, framing_errors = self._counters
        return frames, crc_errors, framing_errors


def random_frame(rng: random.Random) -> bytes:
    """Return a good frame of any message with any values, made by Python's encoder."""
    layout = rng.choice(list(MESSAGES.values()))
    return wire.frame_of_payload(layout.id, _random_payload(layout, rng))


def _random_payload(layout: MessageLayout, rng: random.Random) -> bytes:
    """Return any bytes, often zeros, but finite where the wire wants floats."""
    payload = b""
    for field in layout.fields:
        if field.type == "f32":
            values = [rng.choice((0.0, rng.uniform(-100, 100))) for _ in range(field.count)]
            payload += struct.pack(f"<{field.count}f", *values)
        elif rng.random() < 0.2:
            payload += bytes(field.size)
        else:
            payload += rng.randbytes(field.size)
    return payload


def _flip(frame: bytes, at: int, rng: random.Random) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]


def _burst(frame: bytes, at: int, rng: random.Random) -> bytes:
    noise = rng.randbytes(rng.randint(2, 20))
    return frame[:at] + noise + frame[at + len(noise) :]


# Each takes a frame, a random place in it and the source of randomness.
DAMAGES: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _flip,
    _burst,
    lambda frame, at, rng: frame[:at] + frame[at + rng.randint(1, 3) :],  # drop
    lambda frame, at, rng: frame[:at] + rng.randbytes(rng.randint(1, 3)) + frame[at:],  # insert
    lambda frame, at, rng: frame[: at + rng.randint(1, 9)] + frame[at:],  # repeat a part
    lambda frame, at, rng: frame[:at],  # cut the end
    lambda frame, at, rng: frame[at:],  # cut the head
    lambda frame, at, rng: frame + frame,  # twice
    lambda frame, at, rng: frame[:-1],  # share the delimiter with the next
    lambda frame, at, rng: rng.randbytes(rng.randint(1, 300)),  # noise
    # More bytes than a frame has, and no delimiter among them.
    lambda frame, at, rng: rng.randbytes(rng.randint(120, 150)).replace(b"\0", b"\1"),
)


def damaged_line(frames: list[bytes], rng: random.Random) -> bytes:
    """Return what arrives of the frames: about half of them are damaged in some way."""
    return b"".join(
        rng.choice(DAMAGES)(frame, rng.randrange(len(frame)), rng) if rng.random() < 0.5 else frame
        for frame in frames
    )


def _feed(decoder: wire.Decoder, data: bytes, size: Callable[[], int]) -> list[wire.Message]:
    """Feed bytes in portions of these sizes; return the messages in them."""
    messages, at = [], 0
    while at < len(data):
        end = at + size()
        messages += decoder.feed(data[at:end])
        at = end
    return messages


def fuzz(library: Path, total_bytes: int, seed: int) -> Summary:
    """Feed at least so many bytes to the C decoder and to Python's, portioned in three ways.

    Raises:
        DecodersDisagree: With the round in which it happened; the seed makes it happen again.
    """
    rng = random.Random(seed)
    c_decoder = CDecoder(library)
    sizes = (lambda: sys.maxsize, lambda: 1, lambda: rng.randint(1, 200))
    decoders = {size: wire.Decoder() for size in sizes}
    summary, rounds = Summary(), 0
    frames: list[bytes] = []
    while summary.bytes < total_bytes:
        sent = set(frames)  # the end of the last round's line may belong to this one's
        frames = [random_frame(rng) for _ in range(_FRAMES_PER_ROUND)]
        sent.update(frames)
        line = damaged_line(frames, rng)
        found = c_decoder.feed(line)
        for size, decoder in decoders.items():
            messages = _feed(decoder, line, size)
            counters = (decoder.frames, decoder.crc_errors, decoder.framing_errors)
            if [wire.encode(message) for message in messages] != found:
                raise DecodersDisagree(f"different frames in round {rounds} of seed {seed}")
            if counters != c_decoder.counters:
                raise DecodersDisagree(f"different counters in round {rounds} of seed {seed}")
        if not sent.issuperset(found):
            raise DecodersDisagree(f"a frame that was not sent, round {rounds} of seed {seed}")
        rounds += 1
        summary.bytes += len(line)
        summary.sent += len(frames)
    summary.frames, summary.crc_errors, summary.framing_errors = c_decoder.counters
    return summary


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m robot_firmware_bridge.firmware.tools.fuzz", description=__doc__
    )
    parser.add_argument("--bytes", type=int, default=1_000_000, help="bytes to feed")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds, equal bytes")
    parser.add_argument(
        "--sanitize", action="store_true", help="C under address and undefined-behaviour checks"
    )
    options = parser.parse_args()
    try:
        library = build_library(sanitize="address,undefined" if options.sanitize else "")
        if options.sanitize and "libasan" not in os.environ.get("LD_PRELOAD", ""):
            again = [sys.executable, *sys.orig_argv[1:]]
            return subprocess.run(again, env=address_checked(), check=False).returncode
        start_s = time.perf_counter()
        summary = fuzz(library, options.bytes, options.seed)
    except BridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start_s
    print(
        f"{summary.bytes} bytes, {summary.sent} frames sent, {summary.frames} found, "
        f"{summary.crc_errors} CRC errors, {summary.framing_errors} framing errors: "
        f"Python and C agree{' under sanitizers' if options.sanitize else ''}, "
        f"{seconds:.1f} s, {summary.bytes / seconds / 1000:.0f} kB/s"
    )
    return 0


def address_checked() -> dict[str, str]:
    """Return the environment for a Python that loads a library with the address sanitizer.

    The sanitizer's runtime has to be loaded first. Leaks of the interpreter at its end are not
    reported.
    """
    runtime = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}


if __name__ == "__main__":
    sys.exit(main())
