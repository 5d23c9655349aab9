"""Encoding and decoding one frame of the serial link beside pymavlink doing the same payload.

MAVLink 2 is the protocol that most robots' links speak, and pymavlink its Python. The peer's
dialect is generated from our own `protocol.toml`, field by field, so that both sides carry the same
numbers; ours also scales them to SI units and back, the peer leaves integers as they are. Both
check a checksum and find frames in a stream of bytes. `python -m bench.wire_codec`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from bench.common import BenchError, Entry, paired, write_entries
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import MESSAGES, MessageLayout

_MAVLINK_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "i16": "int16_t"}
_MESSAGE_NAMES = ("state", "command")
_LIMIT_US = 15.0


def dialect_xml() -> str:
    """A MAVLink dialect with our state and command, the same fields of the same types."""
    messages = "".join(
        _message_xml(MESSAGES[name], 100 + i) for i, name in enumerate(_MESSAGE_NAMES)
    )
    return f"<mavlink><version>3</version><messages>{messages}</messages></mavlink>"


def _message_xml(layout: MessageLayout, message_id: int) -> str:
    fields = "".join(
        f"<field type={quoteattr(_mavlink_type(field.type, field.count))} "
        f"name={quoteattr(field.name)}>{field.unit}</field>"
        for field in layout.fields
    )
    name = quoteattr(f"MINITAUR_{layout.name.upper()}")
    return f'<message id="{message_id}" name={name}><description/>{fields}</message>'


def _mavlink_type(type_name: str, count: int) -> str:
    name = _MAVLINK_TYPES[type_name]
    return name if count == 1 else f"{name}[{count}]"


def load_dialect(folder: Path) -> ModuleType:
    """Generate and import the peer's Python for that dialect.

    Raises:
        BenchError: pymavlink is not installed or refuses the dialect.
    """
    try:
        from pymavlink.generator import mavgen
    except ImportError as error:
        raise BenchError("the peer is missing: pip install '.[dev]'") from error
    source = folder / "minitaur.xml"
    source.write_text(dialect_xml())
    options = mavgen.Opts(str(folder / "minitaur_dialect"), wire_protocol="2.0", language="Python3")
    with contextlib.redirect_stdout(io.StringIO()):  # it tells every step
        mavgen.mavgen(options, [str(source)])
    spec = importlib.util.spec_from_file_location(
        "minitaur_dialect", folder / "minitaur_dialect.py"
    )
    if spec is None or spec.loader is None:
        raise BenchError("pymavlink generated no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_messages() -> dict[str, wire.Message]:
    """One state and one command with unremarkable numbers, through the wire once."""
    rng = np.random.default_rng(0)
    messages = {}
    for name in _MESSAGE_NAMES:
        layout = MESSAGES[name]
        payload = rng.integers(1, 100, layout.struct.size, dtype=np.uint8).tobytes()
        frame = wire.frame_of_payload(layout.id, payload)
        (messages[name],) = wire.Decoder().feed(frame)
    return messages


def our_us_per_frame(message: wire.Message, frames: int) -> float:
    """Microseconds to encode one frame and decode it again."""
    decoder = wire.Decoder()
    start_s = time.perf_counter()
    for _ in range(frames):
        decoder.feed(wire.encode(message))
    elapsed_s = time.perf_counter() - start_s
    if decoder.frames != frames:
        raise BenchError(f"decoded {decoder.frames} of {frames} frames")
    return 1e6 * elapsed_s / frames


def peer_us_per_frame(dialect: ModuleType, name: str, frames: int) -> float:
    """Microseconds that pymavlink takes to pack one frame and parse it again."""
    sender = dialect.MAVLink(None, srcSystem=1, srcComponent=1)
    receiver = dialect.MAVLink(None)
    values: list[Any] = [
        7 if field.count == 1 else list(range(3, 3 + field.count))
        for field in MESSAGES[name].fields
    ]
    make: Callable[..., Any] = getattr(dialect, f"MAVLink_minitaur_{name}_message")
    decoded = 0
    start_s = time.perf_counter()
    for _ in range(frames):
        frame = make(*values).pack(sender)
        sender.seq = (sender.seq + 1) % 256
        decoded += len(receiver.parse_buffer(frame) or ())
    elapsed_s = time.perf_counter() - start_s
    if decoded != frames:
        raise BenchError(f"pymavlink decoded {decoded} of {frames} frames")
    return 1e6 * elapsed_s / frames


def main() -> int:
    """Measure both messages and keep the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000, help="frames per round")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds per message")
    args = parser.parse_args()
    messages = our_messages()
    entries = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            dialect = load_dialect(Path(folder))
        for name, message in messages.items():
            result = paired(
                partial(our_us_per_frame, message, args.frames),
                partial(peer_us_per_frame, dialect, name, args.frames),
                args.rounds,
            )
            how = (
                f"encode plus decode of one {name} frame, {args.rounds} alternating rounds of "
                f"{args.frames}; peer: pymavlink, MAVLink 2, same fields, unscaled; medians, "
                f"lower is better; limit {_LIMIT_US:g} us"
            )
            entries.append(
                Entry(f"wire_{name}", result.a, "us/frame", how, peer=result.b, ratio=result.ratio)
            )
            print(f"wire_{name}: {result.a:.1f} / {result.b:.1f} us, ratio {result.ratio:.2f}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    write_entries(entries)
    return 0


if __name__ == "__main__":
    sys.exit(main())
