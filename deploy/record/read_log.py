"""Read the log of a run from one of its files: ``run.mcap``, whole or cut off, or ``run.npz``."""

from __future__ import annotations

import dataclasses
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import StreamReader

from deploy.errors import DeployError, LogError
from deploy.policy.contract import Contract
from deploy.record.black_box_writer import LOG, METADATA, TICKS
from deploy.record.flight_log import FlightLog, log_of, row_of
from robot_firmware_bridge.json_values import JsonValueError
from robot_firmware_bridge.robot import RobotDescription

MCAP_MAGIC = b"\x89MCAP0\r\n"
_ZIP_MAGIC = b"PK"
# No record of ours is larger; a length that was damaged must not take all memory.
_MAX_RECORD_BYTES = 1 << 28
# What bytes that were cut off or changed can raise in the reader.
_DAMAGE = (McapError, zstandard.ZstdError, struct.error, ValueError, MemoryError, OverflowError)


@dataclass(frozen=True, slots=True)
class RunLog:
    """The log of a run, and what is known about the run.

    Attributes:
        log: The ticks.
        tick: Number of each tick in the run, shape (T,): they are not in a row where some are lost.
        facts: What explains the run: that of ``RunReport.setup``, with ``policy`` and ``robot``.
        notes: Lines for people that were written meanwhile.
        cut: Why the file ends early; "" if it is complete.
    """

    log: FlightLog
    tick: np.ndarray[Any, np.dtype[np.integer[Any]]]
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    cut: str = ""


def read_log(path: Path) -> FlightLog:
    """Return the flight log in a file or in the folder of a run.

    Raises:
        LogError: There is none, or nothing in it can be read.
        OSError: The file cannot be read.
    """
    return read_run_log(path).log


def read_run_log(path: Path) -> RunLog:
    """Return the flight log in a file or in the folder of a run, and what goes with it.

    Of an MCAP file that is cut off or damaged, all that comes before is returned.

    Raises:
        LogError: There is none, or nothing in it can be read.
        OSError: The file cannot be read.
    """
    path = _file_of(path)
    with path.open("rb") as file:
        magic = file.read(len(MCAP_MAGIC))
    if magic.startswith(_ZIP_MAGIC):
        return _read_npz(path)
    if magic == MCAP_MAGIC:
        return _read_mcap(path)
    raise LogError(f"{path} is neither an MCAP file nor an .npz file: name the log of a run")


def _file_of(path: Path) -> Path:
    """Return the log of a run's folder; the path itself if it is no folder."""
    if not path.is_dir():
        return path
    for name in ("run.mcap", "run.npz"):
        if (path / name).is_file():
            return path / name
    raise LogError(f"{path} is a folder with no run.mcap and no run.npz: name the log itself")


def _read_npz(path: Path) -> RunLog:
    try:
        log = FlightLog.load(path)
    except (ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise LogError(f"{path}: not a flight log of this stack, or damaged: {error}") from error
    except (zlib.error, DeployError, JsonValueError) as error:
        raise LogError(f"{path}: {error}") from error
    return RunLog(log, np.arange(len(log)), _facts_beside(path))


def _facts_beside(path: Path) -> dict[str, Any]:
    """Return what the report beside an ``.npz`` says of the run; nothing if there is none."""
    try:
        report = json.loads(path.with_suffix(".json").read_bytes())
        return {**report["setup"], "policy": report["policy"], "robot": report["robot"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _read_mcap(path: Path) -> RunLog:
    about: dict[str, str] = {}
    topics: dict[int, str] = {}
    rows, ticks, notes, cut = bytearray(), [], [], ""
    with path.open("rb") as file:
        records = StreamReader(
            file, validate_crcs=True, record_size_limit=_MAX_RECORD_BYTES
        ).records
        try:
            for record in records:
                if isinstance(record, Metadata) and record.name == METADATA:
                    about = record.metadata
                elif isinstance(record, Channel):
                    topics[record.id] = record.topic
                elif isinstance(record, Message):
                    topic = topics.get(record.channel_id)
                    if topic == TICKS:
                        rows += record.data
                        ticks.append(record.sequence)
                    elif topic == LOG:
                        notes.append(str(json.loads(record.data)["message"]))
        except _DAMAGE as error:
            cut = " ".join(f"{type(error).__name__} {error}".split())
    if not about:
        raise LogError(
            f"{path}: it does not say of which run it is: {cut or 'no log of this stack'}"
        )
    return _run_log(path, about, rows, ticks, tuple(notes), cut)


def _run_log(
    path: Path,
    about: dict[str, str],
    data: bytearray,
    ticks: list[int],
    notes: tuple[str, ...],
    cut: str,
) -> RunLog:
    """Return what an MCAP file's metadata, the bytes of its ticks and the rest come to."""
    try:
        contract = Contract.from_json(about["contract"])
        also = tuple(Contract.from_json(text) for text in json.loads(about["also"]))
        robot = RobotDescription.from_json(about["robot"])
        period_s, facts = float(about["period_s"]), json.loads(about["facts"])
        row = row_of((contract, *also), robot)
    except (KeyError, ValueError, TypeError, DeployError, JsonValueError) as error:
        raise LogError(f"{path}: its metadata cannot be read: {error}") from error
    if len(data) != len(ticks) * row.nbytes or not row.fits(
        rows := np.frombuffer(data, np.uint8).reshape(-1, row.nbytes)
    ):
        raise LogError(f"{path}: its ticks are of another version of this stack: use that version")
    log = log_of(row, rows, contract, robot, period_s, also)
    log = dataclasses.replace(log, dry_run=bool(facts.get("dry_run", False)))
    return RunLog(log, np.array(ticks, np.int64), facts, notes, cut)
