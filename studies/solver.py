"""How well the plant on Bullet solves its equations, and what that costs.

Open-loop gaits on the nominal robot and on the calibrated ones, at several lengths of a step and
numbers of sweeps of the solver; the reference has short steps and many sweeps. The drives, the
sensors and the rates of all controllers stay at a tick of 1 ms: only the mechanics are refined.
Motor angles are compared in the first half second, before a walk becomes chaotic.
`python -m studies.solver`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from deploy.files import write_atomically, write_json
from deploy.policy.gait import Gait
from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.geometry import leg_to_motor, rotation_from_quaternion
from robot_firmware_bridge.robot import MINITAUR
from sim.engines import bullet, floor_friction
from sim.plant.params import TICK_S, PlantParams
from sim.plant.params_file import read_params
from sim.plant.plant import Plant
from studies.figures import table
from studies.study import PUBLISHED
from training.tasks.gaits import BOUND, PLAIN_TROT, TROT

Array = NDArray[np.float64]

_CONTROL_TICKS = 6
_GAITS = (TROT, PLAIN_TROT, BOUND)
_CALIBRATED = ("bound-2018", "walk-2019")
_SOON_S = 0.5


@dataclass(frozen=True, slots=True)
class Setting:
    """How Bullet solves.

    Attributes:
        parts: Steps of the engine in a tick of 1 ms.
        sweeps: Of the constraint solver, in a step.
    """

    parts: int
    sweeps: int

    @property
    def title(self) -> str:
        """What it is, for people."""
        sweeps = "1 sweep" if self.sweeps == 1 else f"{self.sweeps} sweeps"
        return f"{1e3 * TICK_S / self.parts:g} ms, {sweeps}"


REFERENCE = Setting(8, 200)
SHIPPED = Setting(1, bullet._SOLVER_ITERATIONS)
SETTINGS = (
    *(Setting(1, sweeps) for sweeps in (1, 2, 3, 5, 10, 20, 50, 200)),
    *(Setting(parts, sweeps) for parts in (2, 4, 8) for sweeps in (5, 10)),
)


@dataclass(frozen=True, slots=True)
class Motion:
    """A gait on a robot.

    Attributes:
        angles_rad: Motor angles after each control step, shape (steps, 8).
        distance_m: From start to end on the floor.
        power_w: Mean power of the motors.
        gap_m: The widest gap between two chains of a leg.
        solver_s: Wall time in Bullet's own step per tick.
    """

    angles_rad: Array
    distance_m: float
    power_w: float
    gap_m: float
    solver_s: float


class _Refined(bullet.BulletEngine):
    """Bullet with several steps in a tick, and a clock around its own step."""

    parts = 1

    def step(self, torque_nm: Array, push_n: Array | None) -> None:
        for _ in range(self.parts):
            super().step(torque_nm, push_n)

    def gap_m(self) -> float:
        """Return the widest gap between the two chains of a leg."""
        widest = 0.0
        for closure in self._model.closures:
            right, left = (self._on_link(link, np.array(point)) for link, point in closure)
            widest = max(widest, float(np.linalg.norm(right - left)))
        return widest

    def _on_link(self, link: str, point: Array) -> Array:
        state = bullet.bullet.getLinkState(
            self._robot, self._link_ids[link], 0, 1, physicsClientId=self._client
        )
        at: Array = rotation_from_quaternion(np.array(state[5])) @ point + state[4]
        return at


@contextmanager
def _solved(setting: Setting) -> Iterator[list[float]]:
    """Let Bullet solve so; yield the list that gets the wall time of every step."""
    took_s: list[float] = []
    step = bullet.bullet.stepSimulation

    def timed(*arguments: Any) -> None:
        start_s = time.perf_counter()
        step(*arguments)
        took_s.append(time.perf_counter() - start_s)

    with (
        mock.patch.object(bullet, "_SOLVER_ITERATIONS", setting.sweeps),
        mock.patch.object(bullet, "TICK_S", TICK_S / setting.parts),
        mock.patch.object(floor_friction, "TICK_S", TICK_S / setting.parts),
        mock.patch.object(bullet.bullet, "stepSimulation", timed),
    ):
        yield took_s


def moved(setting: Setting, params: PlantParams, gait: Gait, seconds: float) -> Motion:
    """Run a gait open loop."""
    with _solved(setting) as took_s:
        engine = _Refined()
        engine.parts = setting.parts
        plant = Plant(engine, compiled=False)
        plant.reset(params)
        took_s.clear()
        angles, gap_m = [], 0.0
        for _ in range(round(seconds / (_CONTROL_TICKS * TICK_S))):
            target = leg_to_motor(gait.leg_targets(plant.t_ns * 1e-9))
            plant.command(target, MINITAUR.kp, MINITAUR.kd)
            plant.advance(_CONTROL_TICKS)
            angles.append(plant.motor_truth()[0])
            gap_m = max(gap_m, engine.gap_m())
        x_m, y_m, _ = plant.base_position_m()
        power_w = plant.energy_j / seconds
        plant.close()
    solver_s = setting.parts * statistics.median(took_s)
    return Motion(np.array(angles), float(np.hypot(x_m, y_m)), power_w, gap_m, solver_s)


def figures(motions: Sequence[Motion], references: Sequence[Motion]) -> dict[str, float]:
    """Return how far the motions of a setting are from those of the reference.

    Keys: ``angle_mrad`` (rms of the motor angles at first, the largest of all motions),
    ``distance_percent`` and ``power_percent`` (the largest), ``gap_mm`` (the widest), ``solver_us``
    (per tick, the median).
    """
    soon = round(_SOON_S / (_CONTROL_TICKS * TICK_S))
    pairs = list(zip(motions, references, strict=True))
    angles = [m.angles_rad[:soon] - r.angles_rad[:soon] for m, r in pairs]
    return {
        "angle_mrad": max(1e3 * float(np.sqrt(np.mean(each**2))) for each in angles),
        "distance_percent": max(100 * abs(m.distance_m / r.distance_m - 1.0) for m, r in pairs),
        "power_percent": max(100 * abs(m.power_w / r.power_w - 1.0) for m, r in pairs),
        "gap_mm": max(1e3 * motion.gap_m for motion in motions),
        "solver_us": statistics.median(1e6 * motion.solver_s for motion in motions),
    }


def report(found: dict[Setting, dict[str, float]], seconds: float) -> str:
    """Return the study's page."""
    shipped_us = found[SHIPPED]["solver_us"]
    rows = [
        (
            f"**{setting.title}** (the plant)" if setting == SHIPPED else setting.title,
            f"{each['angle_mrad']:.1f}",
            f"{each['distance_percent']:.1f} %",
            f"{each['power_percent']:.1f} %",
            f"{each['gap_mm']:.3f}",
            f"{each['solver_us'] / shipped_us:.2f}",
        )
        for setting, each in found.items()
    ]
    columns = ("step and solver", "motor angles, mrad", "distance", "power", "gap, mm", "cost")
    robots = ", ".join(("the nominal robot", *_CALIBRATED))
    gaits = ", ".join(gait.name for gait in _GAITS)
    return (
        "# How well the plant on Bullet solves its equations\n\n"
        f"Written by `python -m studies.solver`. Open loop, the gaits {gaits} on {robots}, "
        f"{seconds:g} s\neach. Figures are the largest difference of these motions from the "
        f"reference, which is {REFERENCE.title}:\nrms of the motor angles in the first "
        f"{_SOON_S:g} s, distance and mean power over the whole. The gap is the\nwidest between "
        "the two chains of a leg. Cost is the time in Bullet's own step, per tick of 1 ms, over\n"
        "that of the plant.\n\n" + table(columns, rows) + "\n"
    )


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; write `docs/results/solver.md` and `.json`."""
    parser = argparse.ArgumentParser(prog="python -m studies.solver", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a motion")
    parser.add_argument("--out", type=Path, default=PUBLISHED / "solver.md")
    chosen = parser.parse_args(arguments)
    robots = [PlantParams(), *(read_params(name).params for name in _CALIBRATED)]
    motions = [(robot, gait) for robot in robots for gait in _GAITS]
    references = [moved(REFERENCE, *each, chosen.seconds) for each in motions]
    found = {}
    for setting in SETTINGS:
        mine = [moved(setting, *each, chosen.seconds) for each in motions]
        found[setting] = figures(mine, references)
        print(f"{setting.title}: " + ", ".join(f"{k} {v:.3g}" for k, v in found[setting].items()))
    write_atomically(chosen.out, report(found, chosen.seconds).encode())
    rows = [{"step_ms": 1 / s.parts, "sweeps": s.sweeps, **each} for s, each in found.items()]
    write_json(chosen.out.with_suffix(".json"), {"seconds": chosen.seconds, "settings": rows})
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
