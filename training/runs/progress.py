"""Progress of a run: rows on disk (JSON lines and TensorBoard) and lines on the console.

``make_writers`` says where else the rows go. Imports no torch.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboard.compat.proto import (  # type: ignore[import-untyped]
    event_pb2,
    summary_pb2,
    tensor_pb2,
    tensor_shape_pb2,
    types_pb2,
)
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

from deploy.files import write_atomically
from robot_firmware_bridge.command_line import cure
from robot_firmware_bridge.json_values import JsonValueError, decode, parse
from training.errors import ConfigError
from training.runs.config import TrainConfig
from training.runs.folder import RunFolder

logger = logging.getLogger(__name__)


RowKind = Literal["update", "evaluation"]


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """One point of every curve.

    Attributes:
        kind: Whether the row is of an update or of an evaluation.
        update: Updates done.
        steps: Environment steps done.
        wall_seconds: Time spent, over all sessions.
        time: Unix time.
        values: Figures by name, grouped as ``group/name``.
    """

    kind: RowKind
    update: int
    steps: int
    wall_seconds: float
    time: float
    values: Mapping[str, float]

    @property
    def mean_return(self) -> float:
        """Mean return of its episodes: those of training in an update, or of the evaluation."""
        group = "episode" if self.kind == "update" else "evaluation"
        return self.values[f"{group}/return"]

    @property
    def score(self) -> float:
        """The configuration's ``score_metric`` in an evaluation."""
        return self.values["evaluation/score"]


class RowWriter(Protocol):
    """Takes the rows of a run to where people look at its curves."""

    def write(self, row: ProgressRow) -> None:
        """Write a row; what cannot be written costs a warning, not the run."""
        ...

    def close(self) -> None:
        """Write what is left, and end."""
        ...


def make_writers(
    config: TrainConfig, folder: RunFolder, update: int, evaluated_update: int
) -> list[RowWriter]:
    """Make the writers that a configuration asks for; the first one is the log on disk.

    Args:
        config: Of the run.
        folder: Its folder.
        update: As of :class:`ProgressLog`.
        evaluated_update: Likewise.

    Raises:
        ConfigError: A package that one needs is not installed, or nobody answers.
    """
    others: list[RowWriter] = []
    if config.logger == "wandb":
        others.append(_wandb_writer(config, folder))
    return [ProgressLog(folder, update, evaluated_update), *others]


def _wandb_writer(config: TrainConfig, folder: RunFolder) -> RowWriter:
    try:
        from training.runs.wandb_writer import WandbWriter
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise
        raise ConfigError(f"the logger wandb needs wandb: {cure('wandb')}") from error
    return WandbWriter(config, folder)


class ProgressLog:
    """The rows of a run on disk.

    A run that resumes goes back to its checkpoint, and so do its curves: later rows are dropped,
    and the TensorBoard file is written anew from those that remain, so that every curve has one
    value at every step. A full disk costs rows, not the run.
    """

    def __init__(self, folder: RunFolder, update: int, evaluated_update: int) -> None:
        """Drop rows beyond ``update``, and evaluations beyond ``evaluated_update``."""
        self._path = folder.progress
        limits = {"update": update, "evaluation": evaluated_update}
        rows = [row for row in read_rows(folder.progress) if row.update <= limits[row.kind]]
        for old in folder.event_files():
            old.unlink()
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._events = folder.path / name
        write_atomically(self._path, b"".join(map(_json_line, rows)))
        first = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
        head = _record(first) + _config_text(folder.config_path)
        write_atomically(self._events, head + b"".join(map(_event, rows)))
        self._lost = 0

    def write(self, row: ProgressRow) -> None:
        """Append a row; a warning says when the first of some is lost, and when it goes on."""
        try:
            _append(self._path, _json_line(row))
            _append(self._events, _event(row))
        except OSError as error:
            if self._lost == 0:
                logger.warning("rows of the progress log are lost: %s", error)
            self._lost += 1
        else:
            if self._lost:
                logger.warning("the progress log goes on; %d rows of it are lost", self._lost)
            self._lost = 0

    def close(self) -> None:
        """Do nothing: every row is on disk."""


def read_rows(path: Path) -> list[ProgressRow]:
    """All whole rows; the last one may have been cut short by a crash."""
    rows, malformed = [], 0
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            row: ProgressRow = decode(ProgressRow, parse(line, "row"), "row")
        except JsonValueError:
            malformed += 1
        else:
            rows.append(row)
    if malformed:
        logger.warning("%s: %d malformed rows are dropped", path, malformed)
    return rows


def _append(path: Path, data: bytes) -> None:
    """Append all of ``data`` or nothing: half a row would spoil those after it."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if file.write(data) != len(data):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _json_line(row: ProgressRow) -> bytes:
    return json.dumps(asdict(row)).encode() + b"\n"


def _event(row: ProgressRow) -> bytes:
    values = [
        summary_pb2.Summary.Value(tag=name, simple_value=value)
        for name, value in row.values.items()
    ]
    summary = summary_pb2.Summary(value=values)
    return _record(event_pb2.Event(wall_time=row.time, step=row.steps, summary=summary))


def _config_text(path: Path) -> bytes:
    """Return the configuration as an event, for TensorBoard's page of texts."""
    if not path.exists():
        return b""
    plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
    # TensorBoard reads Markdown: indented by four, a text is shown as it is.
    text = "".join(f"    {line}\n" for line in path.read_text().splitlines())
    value = summary_pb2.Summary.Value(
        tag="config",
        metadata=summary_pb2.SummaryMetadata(plugin_data=plugin),
        tensor=tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING,
            string_val=[text.encode()],
            tensor_shape=tensor_shape_pb2.TensorShapeProto(
                dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)]
            ),
        ),
    )
    summary = summary_pb2.Summary(value=[value])
    return _record(event_pb2.Event(wall_time=path.stat().st_mtime, summary=summary))


def _record(event: Any) -> bytes:
    """Return an event in TensorBoard's framing of length and checksums."""
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


class ConsoleProgress:
    """A progress bar on a terminal, plain lines anywhere else."""

    def __init__(self, config: TrainConfig, console: Console) -> None:
        self._console = console
        self._config = config
        self._latest = {"return": "-", f"evaluated {config.score_metric}": "-"}
        self._first: ProgressRow | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} steps"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[latest]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(config.name, total=config.total_steps, rate="", latest="")

    def __enter__(self) -> ConsoleProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, row: ProgressRow) -> None:
        """Show a row."""
        self._first = self._first or row
        seconds = row.wall_seconds - self._first.wall_seconds
        rate = f"{(row.steps - self._first.steps) / seconds:,.0f} steps/s" if seconds else ""
        if row.kind == "update":
            self._latest["return"] = f"{row.mean_return:.3g}"
        else:
            self._latest[f"evaluated {self._config.score_metric}"] = f"{row.score:.3g}"
        latest = "  ".join(f"{name} {value}" for name, value in self._latest.items())
        self._bar.update(self._task, rate=rate, latest=latest)
        self.show_steps(row.steps)
        if self._bar.disable and row.kind == "evaluation":
            self._console.print(
                f"{self._config.name}: update {row.update}, {row.steps:,} of "
                f"{self._total(row.steps):,} steps, {rate or 'starting'}, {latest}",
                soft_wrap=True,
                highlight=False,
            )

    def show_steps(self, steps: int) -> None:
        """Show how many steps are done, those of the batch under way included."""
        self._bar.update(self._task, completed=steps, total=self._total(steps))

    def _total(self, steps: int) -> int:
        """Return the steps of the whole run: as configured, and then to the end of an update."""
        return max(steps, self._config.total_steps)
