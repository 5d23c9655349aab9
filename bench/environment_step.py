"""Benchmark: an environment's step beside the bare loop of its engine, under the same forces.

The bare loop is what nobody can do without: torques and floor forces in, a step of the engine,
joints and base out, tick by tick in Python. The forces are recorded from the environment's own
episode, so the motion is the same; the ends are compared bit for bit.
`python -m bench.environment_step`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
from numpy.typing import NDArray

import training.tasks  # noqa: F401  registers the tasks
from bench.common import BenchError, Entry, paired, write_entries
from sim.engines.bullet import BulletEngine, bullet
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant, control_ticks

Array = NDArray[np.float64]

_TASK = "MinitaurStack/Trot-v0"
_LIMIT = 0.85


@dataclass
class Tick:
    """What acts on the robot in a tick.

    Attributes:
        torque_nm: Of the motors, shape (8,).
        forces: Arguments of Bullet's ``applyExternalForce``: what rubs on the floor.
    """

    torque_nm: Array
    forces: list[tuple[Any, ...]] = field(default_factory=list)


class Environment:
    """The trot by its reference gait, on the nominal robot.

    Attributes:
        params: Of the plant of the last episode.
        end: Motor angles and speeds after it, shape (16,).
    """

    def __init__(self, plant: str, steps: int) -> None:
        self._env: Any = gymnasium.make(_TASK, disable_env_checker=True, plant=plant).unwrapped
        self._steps = steps
        self.params = PlantParams()
        self.end = np.zeros(16)

    def steps_per_s(self) -> float:
        """Run an episode and return its rate; the reset is not timed."""
        env, action = self._env, np.zeros(8, dtype=np.float32)
        self.params = env.reset(seed=0)[1]["params"]
        start_s = time.perf_counter()
        for _ in range(self._steps):
            env.step(action)
        elapsed_s = time.perf_counter() - start_s
        self.end = np.concatenate(env.plant.motor_truth()[:2])
        return self._steps / elapsed_s

    def record(self) -> list[Tick]:
        """Run the episode with its ticks in Python, and return them; those of the reset first."""
        compiled = self._env.plant
        engine = type(compiled.engine)()
        step, ticks = engine.step, list[Tick]()

        def recorded(torque_nm: Array, push_n: Array | None) -> None:
            ticks.append(Tick(torque_nm.copy()))
            step(torque_nm, push_n)

        def rubbed(*arguments: Any) -> None:
            ticks[-1].forces.append(arguments[1:-1])
            apply(*arguments)

        apply = bullet.applyExternalForce
        with (
            mock.patch.object(engine, "step", recorded),
            mock.patch.object(bullet, "applyExternalForce", rubbed),
        ):
            self._env.plant = Plant(engine, compiled=False)
            ticks.clear()  # those of its making
            try:
                self.steps_per_s()
            finally:
                self._env.plant.close()
                self._env.plant = compiled
        return ticks


def bare_bullet(engine: BulletEngine, ticks: Sequence[Tick], untimed: int) -> tuple[float, Array]:
    """Step Bullet, just reset, under recorded forces.

    Returns:
        Seconds without the first ``untimed`` ticks, and motor angles and speeds at the end.
    """
    client, robot, motors = engine._client, engine._robot, engine._motors
    signs, kind = engine._directions, bullet.TORQUE_CONTROL
    states: Sequence[tuple[Any, ...]] = ()
    torques = [(tick.torque_nm * signs).tolist() for tick in ticks]
    start_s = time.perf_counter()
    for number, (torque_nm, tick) in enumerate(zip(torques, ticks, strict=True)):
        if number == untimed:
            start_s = time.perf_counter()
        bullet.setJointMotorControlArray(
            robot, motors, kind, forces=torque_nm, physicsClientId=client
        )
        for link, force, at, frame in tick.forces:
            bullet.applyExternalForce(robot, link, force, at, frame, client)
        bullet.stepSimulation(client)
        states = bullet.getJointStates(robot, motors, client)
        bullet.getBasePositionAndOrientation(robot, client)
        bullet.getBaseVelocity(robot, client)
    elapsed_s = time.perf_counter() - start_s
    return elapsed_s, np.array([state[:2] for state in states]).T.ravel() * np.tile(signs, 2)


def bare_mujoco(engine: MujocoEngine, ticks: Sequence[Tick], untimed: int) -> tuple[float, Array]:
    """Step MuJoCo, just reset, under recorded torques; see :func:`bare_bullet`."""
    mj_step, model, data = engine._mujoco.mj_step, engine._compiled, engine._data
    angles, speeds, signs = engine._motor_angles, engine._motor_speeds, engine._directions
    torque, position, speed = data.qfrc_applied, data.qpos, data.qvel
    torques = [tick.torque_nm * signs for tick in ticks]
    start_s = time.perf_counter()
    for number, torque_nm in enumerate(torques):
        if number == untimed:
            start_s = time.perf_counter()
        torque[speeds] = torque_nm
        mj_step(model, data)
        state = position[angles], speed[speeds]
        position[:7].copy(), speed[:6].copy()
    elapsed_s = time.perf_counter() - start_s
    return elapsed_s, np.concatenate(state) * np.tile(signs, 2)


_ENGINES: dict[str, tuple[type, Callable[..., tuple[float, Array]]]] = {
    "pybullet": (BulletEngine, bare_bullet),
    "mujoco": (MujocoEngine, bare_mujoco),
}


def measure(plant: str, steps: int, rounds: int) -> Entry:
    """Measure environment and bare loop in turn.

    Raises:
        BenchError: They end in different states.
    """
    environment = Environment(plant, steps)
    ticks = environment.record()
    kind, bare = _ENGINES[plant]
    engine = kind()
    untimed = len(ticks) - steps * control_ticks(environment.params)

    def bare_steps_per_s() -> float:
        engine.reset(environment.params)
        elapsed_s, end = bare(engine, ticks, untimed)
        if not (end == environment.end).all():
            raise BenchError(f"{plant}: the bare loop moved otherwise")
        return steps / elapsed_s

    result = paired(environment.steps_per_s, bare_steps_per_s, rounds)
    engine.close()
    print(
        f"environment_step_{plant}: {result.a:.0f} steps/s, bare loop {result.b:.0f}, "
        f"ratio {result.ratio:.2f} (at least {_LIMIT})"
    )
    how = (
        f"open-loop trot, one core, {rounds} alternating rounds of {steps} control steps; other: "
        "recorded torques and floor forces into the engine, joints and base out, every tick; "
        "median of pairwise ratios, higher is better"
    )
    name = f"environment_step_{plant}"
    return Entry(name, result.a, "control steps/s", how, peer=result.b, ratio=result.ratio)


def main() -> int:
    """Measure both engines and write the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=900, help="control steps of a round")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs")
    args = parser.parse_args()
    try:
        write_entries([measure(plant, args.steps, args.rounds) for plant in _ENGINES])
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
