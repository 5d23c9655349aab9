"""The conditions of the transfer protocol: where every policy has to walk, fixed and public.

Change a value here and its results are computed anew; nothing of this is a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.plant.randomization import RANDOMIZATIONS
from training.errors import EvaluationError
from training.evaluate.evaluate import EMULATOR, Evaluation

EPISODES = 100
SECONDS = 20.0
SEED = 0
# The robot that only stands: the floor of the push curve.
STANDING = "standing"


@dataclass(frozen=True, slots=True)
class Condition:
    """One kind of plant, drawn anew for every episode.

    Attributes:
        name: Its key in results.
        title: What it is, for people.
        plant: Physics, a name in ``sim.plant.registry.PLANTS``.
        randomization: Ranges of the plant's parameters, in ``sim.plant.randomization.RANDOMIZATIONS``.
        push_n: Force of a 60 ms push every 1.2 s in a random horizontal direction; 0 for none.
        most_episodes: Episodes of a cell at most; None for as many as the protocol has.
    """

    name: str
    title: str
    plant: str = "pybullet"
    randomization: str = "none"
    push_n: float = 0.0
    most_episodes: int | None = None

    def episodes(self, asked: int) -> int:
        """Episodes of a cell, of those that are asked for."""
        return asked if self.most_episodes is None else min(asked, self.most_episodes)

    def job(self, policy: Path, episodes: int, seconds: float, workers: int) -> Evaluation:
        """The evaluation of a policy under this condition."""
        return Evaluation(
            policy=policy,
            plant=self.plant,
            randomization=self.randomization,
            push=self.push_n,
            episodes=self.episodes(episodes),
            seconds=seconds,
            seed=SEED,
            workers=workers,
        )

    def key(self) -> dict[str, Any]:
        """All that decides its results, in plain values: the ranges, not only their name."""
        ranges = RANDOMIZATIONS[self.randomization]
        return {
            "name": self.name,
            "plant": self.plant,
            "ranges": {name: list(ranges[name]) for name in sorted(ranges)},
            "push_n": self.push_n,
            "seed": SEED,
        }


# 60 N is what the training pushes with; 130 to 220 N is the paper's range.
PUSHES_N = (30.0, 60.0, 90.0, 130.0, 175.0, 220.0)
# The emulated board takes its time; its plant is the nominal one, so that few episodes tell.
EPISODES_IN_REAL_TIME = 5

CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("nominal", "identified robot"),
        Condition("table1", "Table I of the paper", randomization="table1"),
        Condition("beyond", "half as wide again as Table I", randomization="beyond"),
        *(Condition(f"push{n:g}", f"{n:g} N every 1.2 s", push_n=n) for n in PUSHES_N),
        Condition("full", "unmerged model, self-collision", plant="pybullet-full"),
        Condition("stock", "the same, contact as published", plant="pybullet-stock"),
        Condition("mujoco", "identified robot in MuJoCo", plant="mujoco"),
        Condition("mujoco-table1", "Table I in MuJoCo", plant="mujoco", randomization="table1"),
        Condition(
            EMULATOR,
            "deploy loop on the emulated board",
            plant=EMULATOR,
            most_episodes=EPISODES_IN_REAL_TIME,
        ),
    )
}

# What is computed first, because it tells most or costs least; the others follow as they stand.
_FIRST = ("nominal", EMULATOR, "mujoco", "table1", "mujoco-table1", "push60")


def turn(condition: Condition) -> int:
    """Where a condition stands in the order of computing."""
    names = (*_FIRST, *(name for name in CONDITIONS if name not in _FIRST))
    return names.index(condition.name) if condition.name in names else len(names)


def chosen_conditions(names: tuple[str, ...]) -> list[Condition]:
    """Conditions by name, in the order of the table; all of them for no names.

    Raises:
        EvaluationError: There is no such condition.
    """
    unknown = sorted(set(names) - set(CONDITIONS))
    if unknown:
        raise EvaluationError(f"unknown conditions {unknown}; known: {', '.join(CONDITIONS)}")
    return [c for name, c in CONDITIONS.items() if not names or name in names]
