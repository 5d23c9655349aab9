"""A cell of the transfer protocol: one policy under one condition, computed or found in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.files import write_json
from robot_firmware_bridge.firmware.library import sources_digest
from studies.transfer.conditions import Condition
from studies.transfer.report import Cell
from training.errors import EvaluationError
from training.evaluate.evaluate import EMULATOR, Evaluation, evaluate, summarize

# Length of the episode whose outcome stands for the physics: with a push, if there are any.
_PROBE_S = 1.3


@dataclass(frozen=True, slots=True)
class Task:
    """A cell to be computed or found.

    Attributes:
        policy: Name of the policy.
        condition: Where it walks.
        job: Its evaluation under that condition.
        path: Where the cell is, or will be.
        sha256: Of the policy file.
    """

    policy: str
    condition: Condition
    job: Evaluation
    path: Path
    sha256: str

    @property
    def label(self) -> str:
        """The cell for people."""
        return f"{self.policy} under {self.condition.name}"

    def key(self) -> dict[str, Any]:
        """All that decides the cell.

        Raises:
            TrainingError, DeployError, SimError, BridgeError: It cannot be evaluated here.
        """
        return {
            "policy_sha256": self.sha256,
            "condition": self.condition.key(),
            "episodes": self.job.count,
            "seconds": self.job.seconds,
            "physics": physics(self.condition, self.job.policy),
        }


def physics(condition: Condition, file: Path) -> str:
    """What the code under a cell does, as a digest: the outcome of a very short episode.

    A plant is repeatable bit for bit, so this changes when the physics, the draw of a plant or the
    pipeline does, and stays when a comment does. The emulated board is not repeatable, but stands
    on PyBullet, and its firmware is known by its sources.
    """
    firmware = ""
    if condition.plant == EMULATOR:
        firmware = sources_digest()
        condition = dataclasses.replace(condition, plant="pybullet")
    (result,) = evaluate(condition.job(file, episodes=1, seconds=_PROBE_S, workers=0))
    text = json.dumps(dataclasses.asdict(result), sort_keys=True) + firmware
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(task: Task) -> Cell | None:
    """The cell as it was computed before, if it was, and for this very task."""
    data = _read(task)
    return _cell(task, data) if data is not None and data["key"] == task.key() else None


def is_of_policy(task: Task) -> bool:
    """Whether the file is a cell of this very policy; to look at its physics takes an episode."""
    data = _read(task)
    return data is not None and data["key"].get("policy_sha256") == task.sha256


def took_s(task: Task) -> float | None:
    """How long the cell in the file took, whatever it is of; None if there is none."""
    data = _read(task)
    return None if data is None else float(data["took_s"])


def unpack(table: Path, todo: Sequence[Task]) -> None:
    """Write the cells that a ``transfer.json`` has and that are no files yet.

    They are files like any other then, found or computed anew by the same rule; of their reports
    only the figures that the table has are left.

    Raises:
        EvaluationError: This is no table of the transfer protocol.
        OSError: A cell cannot be written.
    """
    try:
        data = json.loads(table.read_text())
        rows = {(row["policy"], row["condition"]): _of_row(row, data) for row in data["cells"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EvaluationError(
            f"{table}: not a transfer.json as `make transfer` writes it ({error!r}); "
            "without --reuse everything is computed anew"
        ) from error
    for task in todo:
        row = rows.get((task.policy, task.condition.name))
        fits = row is not None and row["key"]["policy_sha256"] == task.sha256
        if fits and not task.path.exists():
            write_json(task.path, row)


def _of_row(row: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """What is in a cell's file, from its row in a ``transfer.json``."""
    conditions = {condition["name"]: condition for condition in table["protocol"]["conditions"]}
    key = {
        "policy_sha256": table["policies"][row["policy"]]["sha256"],
        "condition": conditions[row["condition"]],
        "episodes": row["episodes"],
        "seconds": table["protocol"]["seconds"],
        "physics": row["physics"],
    }
    apart = ("policy", "condition", "physics", "took_s")
    report = {name: value for name, value in row.items() if name not in apart}
    return {"key": key, "report": report, "took_s": row["took_s"]}


def compute(task: Task, tick: Callable[[], object]) -> Cell:
    """Run the episodes of a cell, with a tick after each, and write it when all are done."""
    start_s = time.monotonic()
    results = []
    for result in evaluate(task.job):
        results.append(result)
        tick()
    data = {
        "key": task.key(),
        "report": summarize(task.job, results),
        "took_s": round(time.monotonic() - start_s, 3),
    }
    write_json(task.path, data)
    return _cell(task, data)


def _read(task: Task) -> dict[str, Any] | None:
    """What is in the file; None if it is not there, or not what this program writes."""
    try:
        data: dict[str, Any] = json.loads(task.path.read_text())
        return data if {"key", "report", "took_s"} <= set(data) else None
    except (OSError, ValueError, TypeError):
        return None


def _cell(task: Task, data: dict[str, Any]) -> Cell:
    return Cell(
        task.policy,
        task.condition,
        data["report"],
        task.sha256,
        data["key"]["physics"],
        data["took_s"],
    )
