"""What the benchmarks share: side-by-side measurement, the newest figures and their history.

Machines are noisy, so absolute figures from different minutes do not compare. `paired` runs the
two sides in turn and judges them by the ratio within each pair. The newest figures are in
`build/bench.json`. `docs/results/bench.jsonl` gets a line for each, with commit and machine, so
that a regression is seen.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from robot_firmware_bridge.errors import MinitaurError
from studies.study import working_commit

ROOT = Path(__file__).resolve().parent.parent
BENCH_JSON = ROOT / "build" / "bench.json"
HISTORY = ROOT / "docs" / "results" / "bench.jsonl"


class BenchError(MinitaurError):
    """A benchmark cannot run, or a result cannot be kept; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark's result: ours against a peer, or ours against a limit.

    Attributes:
        name: key in the file.
        ours: our figure, in `unit`.
        unit: what `ours` and `peer` or `limit` are measured in.
        how: how it was measured and which direction is better, in one line.
        peer: the figure of the program compared with.
        limit: the figure that must be kept; exactly one of `peer` and `limit` is given.
        ratio: ours over the other figure; pass the median of pairwise ratios if there is one.
    """

    name: str
    ours: float
    unit: str
    how: str
    peer: float | None = None
    limit: float | None = None
    ratio: float | None = None

    def as_json(self) -> dict[str, float | str | None]:
        """Return the entry as it is kept in the file.

        Raises:
            BenchError: if not exactly one of `peer` and `limit` is given.
        """
        if (self.peer is None) == (self.limit is None):
            raise BenchError(f"{self.name}: give either a peer or a limit")
        kind, other = ("peer", self.peer) if self.limit is None else ("limit", self.limit)
        ratio = self.ratio
        if ratio is None and other:
            ratio = self.ours / other
        return {
            "ours": self.ours,
            kind: other,
            "ratio": ratio,
            "unit": self.unit,
            "how": self.how,
        }


@dataclass(frozen=True, slots=True)
class Paired:
    """Medians of two sides measured in turn, and the median of a/b within each pair."""

    a: float
    b: float
    ratio: float


def paired(run_a: Callable[[], float], run_b: Callable[[], float], rounds: int = 5) -> Paired:
    """Run A, B, A, B, ... and compare the two.

    Args:
        run_a: measures our side once and returns its figure.
        run_b: measures the other side once and returns its figure, in the same unit.
        rounds: how many pairs to run.

    Raises:
        BenchError: if `rounds` is below 1, or a figure of B is not positive.
    """
    if rounds < 1:
        raise BenchError(f"rounds must be at least 1, not {rounds}")
    pairs = [(run_a(), run_b()) for _ in range(rounds)]
    if any(b <= 0 for _, b in pairs):
        raise BenchError("the other side measured nothing: its figure is not positive")
    return Paired(
        a=statistics.median(a for a, _ in pairs),
        b=statistics.median(b for _, b in pairs),
        ratio=statistics.median(a / b for a, b in pairs),
    )


def machine() -> str:
    """Return what figures were measured on, in one line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"


def write_entries(
    entries: Iterable[Entry], path: Path = BENCH_JSON, history: Path = HISTORY
) -> None:
    """Merge `entries` into the newest figures and add them to the history; tell what changed.

    A lock beside the file keeps benchmarks that run at once from losing each other's entries,
    and the file is replaced whole, so a reader never sees half of it.

    Raises:
        BenchError: if a file is there but is not what it should be.
    """
    new = {entry.name: entry.as_json() for entry in entries}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = read_entries(path) | new
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            os.fchmod(handle, 0o644)
            with os.fdopen(handle, "w") as file:
                json.dump(merged, file, indent=2, sort_keys=True, allow_nan=False)
                file.write("\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _remember(new, history)


def _remember(new: dict[str, dict[str, float | str | None]], path: Path) -> None:
    """Add figures to the history, and print each beside the one before on this machine."""
    before = read_history(path)
    where, commit = machine(), working_commit()
    print(f"on {where}, at {commit}")
    about = {"date": date.today().isoformat(), "commit": commit, "machine": where}
    rows: list[dict[str, Any]] = [
        {**about, "name": name, **{key: value for key, value in figures.items() if key != "how"}}
        for name, figures in new.items()
    ]
    for row in rows:
        same = [old for old in before if (old["machine"], old["name"]) == (where, row["name"])]
        if same and row["ratio"] is not None:
            last = same[-1]
            print(
                f"  {row['name']}: ratio {row['ratio']:.3f}, before {last['ratio']:.3f} at "
                f"{last['commit']}"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_history(path: Path = HISTORY) -> list[dict[str, Any]]:
    """Return the figures of all time, oldest first; empty if there is no file.

    Raises:
        BenchError: if a line is not JSON.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise BenchError(f"{path} is damaged ({error}): take it from git again") from error


def read_entries(path: Path = BENCH_JSON) -> dict[str, object]:
    """Return what the file holds, by benchmark name; empty if there is no file.

    Raises:
        BenchError: if the file is there but is not a JSON object.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error}); remove it and run again") from error
    if not isinstance(content, dict):
        raise BenchError(f"{path} holds no JSON object; remove it and run again")
    return content
