"""What the benchmarks share: side-by-side measurement and the file `build/bench.json`.

Machines are noisy, so absolute figures from different minutes do not compare. `paired` runs the
two sides in turn and judges them by the ratio within each pair. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from robot_firmware_bridge.errors import MinitaurError

ROOT = Path(__file__).resolve().parent.parent
BENCH_JSON = ROOT / "build" / "bench.json"


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


def write_entries(entries: Iterable[Entry], path: Path = BENCH_JSON) -> None:
    """Merge `entries` into the file; entries of other names stay as they are.

    A lock beside the file keeps benchmarks that run at once from losing each other's entries,
    and the file is replaced whole, so a reader never sees half of it.

    Raises:
        BenchError: if the file is there but is not a JSON object.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = read_entries(path) | {entry.name: entry.as_json() for entry in entries}
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
