"""Episodes on a plant, by the mean action, and the replay of one that diverged, from its dump."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script
from deploy.errors import SafetyStop
from deploy.policy.contract import Contract
from deploy.record.clearance import clearance
from deploy.record.metrics import stride_ticks
from deploy.record.thermal import bearable_s
from sim.plant.params import PlantParams, Value
from sim.plant.params_file import CalibratedPlant
from sim.plant.randomization import Ranges, randomization_named
from training.evaluation.job import (
    DIVERGED,
    EpisodeResult,
    Evaluation,
    cost_of_transport,
    load_policy,
)
from training.rollout.dump import drawn_by, new_dump
from training.rollout.episode import Stream
from training.tasks.course import Track, turns
from training.tasks.env import LocomotionEnv, LocomotionTask

# Far beyond any robot of this size: the simulation has diverged.
_MOST_M_S, _MOST_W = 20.0, 1e4
# A number of the plant or of the policy is not finite, says the controller or the environment.
_NOT_FINITE = (SafetyStop, gymnasium.error.InvalidAction)


class PlantEvaluator:
    """Runs episodes on a plant, by the mean action."""

    def __init__(self, job: Evaluation, plant: CalibratedPlant | None = None) -> None:
        self._job = job
        contract, self._network = load_policy(job)
        found = randomization_named(job.randomization, plant)
        nominal = dataclasses.replace(found.nominal, control_step_s=contract.control_period_s)
        self._course = job.course_of(contract)
        self._turns = turns(self._course)
        self._env = _walking(
            contract,
            job.seconds,
            job.plant,
            job.model,
            self._course,
            nominal,
            found.ranges,
            job.surroundings,
        )

    def run(self, index: int) -> EpisodeResult:
        """Run episode ``index``."""
        angles: list[NDArray[np.float64]] = []
        attitudes: list[NDArray[np.float64]] = []
        actions: list[NDArray[np.float32]] = []

        over = False
        try:
            observation, _ = self._env.reset(seed=self._job.seed_of(index))
            while not over:
                actions.append(self._network(observation).copy())
                observation, _, fell, timed_out, info = self._env.step(actions[-1])
                over = fell or timed_out
                angles.append(self._env.plant.motor_truth()[0])
                attitudes.append(self._env.plant.truth().rpy_rad)
        except _NOT_FINITE as error:
            return self._diverged(index, _stopped(len(actions) - 1, error), actions)
        params = self._env.plant.params
        ticks = stride_ticks(self._env.contract.action.gait, params.control_step_s)
        metrics = info["metrics"]
        speed = metrics["distance_m"] / self._job.seconds
        power_w, mass_kg = metrics["mean_power_w"], self._env.plant.engine.mass_kg
        if what := _judged(speed, power_w):
            return self._diverged(index, what, actions)
        off = clearance(np.array(angles), np.array(attitudes), ticks)
        return EpisodeResult(
            index=index,
            survived=not _cause(metrics),
            distance_m=metrics["distance_m"],
            seconds=metrics["seconds"],
            speed_mps=speed,
            mean_power_w=power_w,
            cost_of_transport=cost_of_transport(power_w, mass_kg, speed),
            drift_m=None if self._turns else metrics["drift_m"],
            overheated=bool(metrics["overheated"]),
            cause=_cause(metrics),
            params=dataclasses.asdict(params),
            speed_error_mps=metrics.get("speed_error_mps"),
            yaw_rate_error_rad_s=metrics.get("yaw_rate_error_rad_s"),
            bearable_s=bearable_s(np.array((metrics["hottest_w"],))),
            toe_clearance_m=None if off is None else off.toe_m,
            body_clearance_m=None if off is None else off.body_m,
        )

    def _diverged(
        self, index: int, what: str, actions: Sequence[NDArray[np.float32]]
    ) -> EpisodeResult:
        """Return the result of an episode whose figures mean nothing, and would spoil every mean.

        It counts as that of a robot that lies where it started; means of power leave it out.
        """
        contract = self._env.contract
        facts = {
            "cause": what,
            "what": what,
            "seed": self._job.seed,
            "stream": Stream.EVALUATION.name.lower(),
            "index": index,
            "env_seed": self._job.seed_of(index),
            "step": len(actions) - 1,
            "job": dataclasses.asdict(self._job),
            "contract": json.loads(contract.to_json()),
            "course": None if self._course is None else dataclasses.asdict(self._course),
            **drawn_by(self._env, {}),
        }
        taken = np.array(actions, np.float32).reshape(-1, contract.action.size)
        return EpisodeResult(
            index=index,
            survived=False,
            distance_m=0.0,
            seconds=self._env.plant.t_ns * 1e-9,
            speed_mps=0.0,
            mean_power_w=0.0,
            cost_of_transport=cost_of_transport(0.0, self._env.plant.engine.mass_kg, 0.0),
            drift_m=None if self._turns else 0.0,
            overheated=False,
            cause=DIVERGED,
            params=dataclasses.asdict(self._env.plant.params),
            bearable_s=0.0,
            toe_clearance_m=None,
            body_clearance_m=None,
            dump=new_dump("evaluation", facts, {"actions": taken}),
            **_errors_lying(contract, self._course, self._job.seconds),
        )

    def close(self) -> None:
        """Release the plant."""
        self._env.close()


def _walking(
    contract: Contract,
    seconds: float,
    plant: str,
    model: str,
    course: Script | None,
    nominal: PlantParams,
    ranges: Ranges,
    params: Mapping[str, Value],
) -> LocomotionEnv:
    """Return the environment of an evaluation, which rewards nothing."""
    task = LocomotionTask(contract, reward={}, episode_s=seconds, nominal=nominal)
    return LocomotionEnv(
        task, randomization=ranges, params=params, model=model, plant=plant, course=course
    )


def replay_env(facts: Mapping[str, Any]) -> LocomotionEnv:
    """Return the environment of an episode that a dump has, with its plant and course.

    Raises:
        KeyError: The dump lacks something.
    """
    contract = Contract.from_json(json.dumps(facts["contract"]))
    job, course = facts["job"], facts["course"]
    if course is not None:
        times = tuple(course["times_s"])
        course = Script(times, tuple((speed, turn) for speed, turn in course["velocities"]))
    everything = facts["params"]
    params = PlantParams(**everything)
    return _walking(
        contract, job["seconds"], job["plant"], job["model"], course, params, {}, everything
    )


def replay_actions(
    env: gymnasium.Env[Any, Any], facts: Mapping[str, Any], actions: NDArray[np.float32]
) -> str:
    """Run an episode that a dump has again; return how it diverged, "" if it did not.

    Args:
        env: That of :func:`replay_env`, or a wrapper of it.
        facts: Those of the dump.
        actions: All of the episode, shape (T, A).
    """
    step = -1
    info: dict[str, Any] = {}
    try:
        env.reset(seed=facts["env_seed"])
        for step, action in enumerate(actions):  # noqa: B007  the error's, too
            info = env.step(action)[4]
    except _NOT_FINITE as error:
        return _stopped(step, error)
    if "metrics" not in info:
        return ""
    metrics = info["metrics"]
    return _judged(metrics["distance_m"] / facts["job"]["seconds"], metrics["mean_power_w"])


def _cause(metrics: Mapping[str, float]) -> str:
    """Return what ended an episode before its time; "" for nothing."""
    return next((name for name in ("fell", "dropped", "overheated") if metrics[name]), "")


def _judged(speed_mps: float, power_w: float) -> str:
    """Return how a simulation diverged, by its figures; "" if it did not."""
    if abs(speed_mps) <= _MOST_M_S and abs(power_w) <= _MOST_W:  # nor is a NaN
        return ""
    return f"the simulation diverged: {speed_mps!r} m/s, {power_w!r} W"


def _stopped(step: int, error: Exception) -> str:
    """Return how an episode diverged: in which step from 0 on, -1 for ``reset``."""
    return f"the episode diverged in {'reset' if step < 0 else f'step {step}'}: {error}"


def _errors_lying(contract: Contract, course: Script | None, seconds: float) -> dict[str, Any]:
    """Return the errors of a robot that lies still over a whole course; nothing without one."""
    spec = contract.velocity_command
    if course is None or spec is None:
        return {}
    track = Track(course, spec, contract.action, np.zeros(3), 0.0)
    track.add(contract.control_period_s, np.zeros(3), 0.0, np.zeros(2))
    return dataclasses.asdict(track.errors(seconds))
