"""The evaluation protocol: a policy file on many drawn plants, through the deployed controller.

Episode ``k`` of seed ``s`` is the same plant for
every policy, so two reports can be compared episode by episode. The distance of a robot that falls
counts over the time of the whole episode: a fall is never faster.

A policy that takes velocity commands walks a course. Its distance is that along its own heading.
Its errors are those of ``deploy.record.metrics``, against the velocity command as the contract lets
it follow the course. A robot that fell is commanded to go on, and does not.

On the plant ``emulator`` the control loop runs as on a robot: over the session and the wire of the
serial protocol, against the firmware, in lockstep on a virtual clock. It has the period of its
contract and the latency of its line, whatever is drawn, and stands up before its episode begins.

A calibrated plant (``--params``) takes the place of the nominal robot on every plant. The control
period stays that of the policy.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from deploy.command_sources import AHEAD, Script, script_of
from deploy.errors import SafetyStop
from deploy.files import prove_writable, write_atomically, write_somewhere
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.loop.reactions import NO_REACTIONS
from deploy.policy.contract import Contract
from deploy.policy.controller import Controller, Network
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.clearance import clearance
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import stride_ticks
from deploy.record.thermal import bearable_s, heat_of_torque_w, in_words
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK, command
from robot_firmware_bridge.messages import Fault
from robot_firmware_bridge.robot import NUM_MOTORS
from robot_firmware_bridge.worker_process import obey_parent
from sim.board.lockstep import lockstep, stock_lockstep
from sim.model.minitaur import MODELS
from sim.plant.params import GRAVITY_M_S2, MAX_PUSH_N, PlantParams, Value
from sim.plant.params_file import CalibratedPlant, PlantFile, read_plant_file
from sim.plant.randomization import (
    MEASURED,
    RANDOMIZATION_NAMES,
    Ranges,
    drawn,
    randomization_named,
)
from sim.plant.registry import PLANTS, make_plant
from sim.plant.terrain import FLAT, terrain_named
from training.errors import EvaluationError, replay_command
from training.rollout.dump import Dump, drawn_by, new_dump, write_dump
from training.rollout.episode import Stream, seed_sequence
from training.rollout.samplers import check_workers, map_in_workers
from training.tasks.course import COURSE, Track
from training.tasks.env import FALLEN_HEIGHT_M, LocomotionEnv, LocomotionTask

# Not a plant to step from here: the control loop over the wire, against the firmware.
EMULATOR = "emulator"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluate a policy on many drawn plants and write a report.

    Attributes:
        policy: ONNX policy file.
        plant: Physics to evaluate on: pybullet, mujoco, pybullet-full, pybullet-stock,
            pybullet-ideal (motors without limits), or pybullet-duck, where the duck on the robot's
            back must stay there as well; or emulator, the control loop over the serial protocol
            against the firmware of the emulated board.
        randomization: Ranges to draw plants from: none, table1 (Tan et al. 2018), beyond (that
            table, its ranges half as wide again), original (pybullet_envs' randomiser), or measured
            (the intervals of PARAMS). What no training draws: offsets, play, uneven, jitter, lost,
            sag, soft, all of them as unmodelled, load2 (2 kg), weak (a motor at half its torque);
            see ``sim.plant.randomization``. With PARAMS, the ranges are about that plant.
        params: Calibrated plant in the place of the nominal robot: a file that `make calibrate`
            wrote, or the name of one that ships.
        episodes: Number of episodes.
        seconds: Length of an episode.
        seed: Seed of the plants.
        report: Where to write the JSON report.
        workers: Processes; 0 for this one. The figures do not depend on it.
        push: Force of a 60 ms push every 1.2 s in a random direction, N; 0 for none.
        terrain: Ground to walk on: flat, blocks20 (up to 20 mm), sill30, waves40 or stairs20 (mm),
            patches25 (% of the friction), slope10-up, slope10-down or slope10-across (degrees), ice
            (a friction of 0.25), or some with + between them. What it sets is not drawn.
        model: Robot model in the simulator.
        course: What a policy that takes commands is told: the path of a script, SPEED,YAW_RATE in
            m/s and rad/s, or ahead, the policy's greatest speed straight on;
            ``training.tasks.course.COURSE`` if left out.
        reference_only: Put a network of zeros in the place of the policy: the reference gait alone,
            in the same episodes.
    """

    policy: Path = Path("policies/trot.onnx")
    plant: str = "pybullet"
    randomization: str = "none"
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    episodes: int = 100
    seconds: float = 20.0
    seed: int = 0
    report: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    workers: int = 2
    push: float = 0.0
    terrain: str = FLAT
    model: str = "minitaur_rainbow_dash"
    course: Annotated[str | None, tyro.conf.arg(metavar="PATH|SPEED,YAW_RATE|ahead")] = None
    reference_only: bool = False

    @property
    def surroundings(self) -> dict[str, Any]:
        """Plant parameters of the pushes and of the ground."""
        pushes = {"push_force_low_n": self.push, "push_force_high_n": self.push}
        return {**pushes, **terrain_named(self.terrain)}

    def check(self) -> None:
        """Refuse what cannot be evaluated.

        Raises:
            EvaluationError: Names the option, its value and what it can be.
            ParameterError: There is no such terrain.
        """
        known = {
            "plant": (self.plant, (*PLANTS, EMULATOR)),
            "randomization": (self.randomization, RANDOMIZATION_NAMES),
            "model": (self.model, tuple(MODELS)),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                raise EvaluationError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
        if self.randomization == MEASURED and self.params is None:
            raise EvaluationError(
                "randomization 'measured' draws from the intervals of a calibrated plant: name one "
                "with --params"
            )
        positive = 0.0 < self.seconds < math.inf and self.episodes >= 1
        if not positive or self.workers < 0 or self.seed < 0:
            raise EvaluationError(
                "episodes and seconds must be positive, workers and seed 0 or more, got "
                f"episodes={self.episodes} seconds={self.seconds} workers={self.workers} "
                f"seed={self.seed}"
            )
        if not 0.0 <= self.push <= MAX_PUSH_N:
            raise EvaluationError(f"--push must be in [0, {MAX_PUSH_N:g}] N, is {self.push:g}")
        terrain_named(self.terrain)

    def calibrated(self) -> PlantFile | None:
        """Read the calibrated plant; None if there is none.

        Raises:
            ParameterError: The file or the name is not one of a calibrated plant.
        """
        return None if self.params is None else read_plant_file(self.params)

    def seed_of(self, index: int) -> int:
        """Return the seed of episode ``index``, by which its plant is drawn."""
        sequence = seed_sequence(self.seed, Stream.EVALUATION, index)
        return int(sequence.generate_state(1)[0])

    def course_of(self, contract: Contract) -> Script | None:
        """Return the course for a policy; None if it takes no velocity command.

        Raises:
            RunError: The script is not there or malformed, or requests too much of the policy.
            EvaluationError: There is a script, and the policy takes no velocity command.
        """
        spec = contract.velocity_command
        if spec is None:
            if self.course not in (None, AHEAD):  # ahead is all that it can go
                raise EvaluationError(f"{self.policy} takes no command: leave --course out")
            return None
        return script_of(self.course or str(COURSE), spec, "--course")


# Far beyond any robot of this size: the simulation has diverged.
_MOST_M_S, _MOST_W = 20.0, 1e4
# A number of the plant or of the policy is not finite, says the controller or the environment.
_NOT_FINITE = (SafetyStop, gymnasium.error.InvalidAction)
# Dumps that an evaluation writes.
_MOST_DUMPS = 3


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode of an evaluation; ``params`` replays it, ``cause`` says what ended it early.

    The drift is None on a course that turns, the errors are None without a course. ``bearable_s``
    is how long motors that start cold bear such an episode, see ``deploy.record.thermal``; the
    clearances are those of ``deploy.record.clearance``, None where no stride was walked. ``dump``
    is there where the simulation diverged.
    """

    index: int
    survived: bool
    distance_m: float
    seconds: float
    speed_mps: float
    mean_power_w: float
    cost_of_transport: float
    drift_m: float | None
    overheated: bool
    cause: str
    params: dict[str, Value]
    speed_error_mps: float | None = field(default=None, kw_only=True)
    yaw_rate_error_rad_s: float | None = field(default=None, kw_only=True)
    bearable_s: float = field(kw_only=True)
    toe_clearance_m: float | None = field(kw_only=True)
    body_clearance_m: float | None = field(kw_only=True)
    dump: Dump | None = field(default=None, kw_only=True, compare=False, repr=False)


def cost_of_transport(power_w: float, mass_kg: float, speed_mps: float) -> float:
    """Return power over weight and speed; for a robot that does not walk, at 1 mm/s."""
    return power_w / (GRAVITY_M_S2 * mass_kg * max(speed_mps, 1e-3))


def _load(job: Evaluation) -> tuple[Contract, Network]:
    policy = OnnxPolicy.load(job.policy)
    still = np.zeros(policy.contract.action.size, np.float32)
    return policy.contract, (lambda _: still) if job.reference_only else policy


def _turns(course: Script | None) -> bool:
    """Return whether a course is not straight, so that a drift from the line means nothing."""
    return course is not None and any(turn != 0.0 for _, turn in course.velocities)


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


class PlantEvaluator:
    """Runs episodes on a plant, by the mean action."""

    def __init__(self, job: Evaluation, plant: CalibratedPlant | None = None) -> None:
        self._job = job
        contract, self._network = _load(job)
        found = randomization_named(job.randomization, plant)
        nominal = dataclasses.replace(found.nominal, control_step_s=contract.control_period_s)
        self._course, surroundings = job.course_of(contract), job.surroundings
        self._turns = _turns(self._course)
        self._env = _walking(
            contract,
            job.seconds,
            job.plant,
            job.model,
            self._course,
            nominal,
            {n: r for n, r in found.ranges.items() if n not in surroundings},
            surroundings,
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

        It counts as that of a robot that lies where it started.
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
            cause="diverged",
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
    params = PlantParams(**facts["params"])
    return _walking(contract, job["seconds"], job["plant"], job["model"], course, params, {}, {})


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


class BoardEvaluator:
    """Runs the control loop against the emulated board, in lockstep."""

    def __init__(self, job: Evaluation, plant: CalibratedPlant | None = None) -> None:
        self._job, self._calibrated = job, plant
        self._contract, self._network = _load(job)
        self._course = job.course_of(self._contract)
        self._plant = make_plant(model=job.model)

    def run(self, index: int) -> EpisodeResult:
        """Run episode ``index``: the policy's time of one run of the loop."""
        job, contract = self._job, self._contract
        params = dataclasses.replace(
            drawn(job.randomization, job.seed_of(index), self._calibrated),
            control_step_s=contract.control_period_s,
            **job.surroundings,
        )
        self._plant.reset(params)
        board = (stock_lockstep if contract.board == "stock" else lockstep)(self._plant)
        loop = ControlLoop(
            board.robot,
            board.clock,
            Controller(contract, self._network),
            Durations(run_s=job.seconds),
            odometry=board.odometry,
            commands=self._course,
            rules=NO_REACTIONS,  # it is the policy that is measured, on every plant alike
        )
        try:
            loop.run()
        finally:
            board.robot.close()
        if loop.crash is not None:
            raise loop.crash
        cause = "; ".join(fault.detail for fault in loop.faults)
        return board_result(
            index, cause, loop.log(), params, self._plant.engine.mass_kg, job.seconds, self._course
        )

    def close(self) -> None:
        """Release the plant."""
        self._plant.close()


def board_result(
    index: int,
    cause: str,
    log: FlightLog,
    params: PlantParams,
    mass_kg: float,
    seconds: float,
    course: Script | None,
) -> EpisodeResult:
    """Compute the result of an episode of ``seconds`` from the flight log of its run.

    Only the policy's own time counts: standing up and arming come before it. A fault while the loop
    stops the robot afterwards ends the episode badly all the same. ``cause`` is what ended the run
    before its time, ``name: detail``; empty for a good run. Power is that of the torques and speeds
    that the board reports. ``course`` is None for a policy that takes no velocity command.
    """
    run = log.run
    end = min(run.stop, len(log) - 1)  # the tick that ended RUN, where there is one
    low = np.flatnonzero(log.base_position_m[run.start : end + 1, 2] < FALLEN_HEIGHT_M)
    if run.stop > run.start and low.size:
        end = run.start + int(low[0])
        cause = f"fell: the body is {log.base_position_m[end, 2]:.2f} m above the floor"
    ran = slice(run.start, max(run.start, min(end, run.stop)))
    distance_m = ran_s = power_w = 0.0
    heat_w, off = np.zeros(NUM_MOTORS), None
    drift_m = None if _turns(course) else 0.0
    speed_error = yaw_rate_error = None
    if ran.stop > ran.start:
        x, y, _ = log.base_position_m[end] - log.base_position_m[ran.start]
        sine, cosine = math.sin(params.start_heading_rad), math.cos(params.start_heading_rad)
        distance_m, drift_m = float(cosine * x + sine * y), float(cosine * y - sine * x)
        if course is not None:
            track = _track(log, ran.start, end, course)
            errors = track.errors(seconds)
            distance_m, drift_m = track.forward_m, None if _turns(course) else drift_m
            speed_error, yaw_rate_error = errors.speed_error_mps, errors.yaw_rate_error_rad_s
        ran_s = float(log.deadline_ns[end] - log.deadline_ns[ran.start]) / 1e9
        power = np.abs(log.motor_torque_nm[ran] * log.motor_velocity_rad_s[ran]).sum(axis=1)
        power_w = float(power.mean())
        heat_w = heat_of_torque_w(log.motor_torque_nm[ran])
        ticks = stride_ticks(log.contract.action.gait, log.period_s)
        off = clearance(log.motor_position_rad[ran], log.rpy_rad[ran], ticks)
    speed = distance_m / seconds
    return EpisodeResult(
        index=index,
        survived=not cause,
        distance_m=distance_m,
        seconds=ran_s,
        speed_mps=speed,
        mean_power_w=power_w,
        cost_of_transport=cost_of_transport(power_w, mass_kg, speed),
        drift_m=drift_m,
        overheated="OVERHEAT" in cause,
        cause=cause,
        params=dataclasses.asdict(params),
        speed_error_mps=speed_error,
        yaw_rate_error_rad_s=yaw_rate_error,
        bearable_s=bearable_s(heat_w),
        toe_clearance_m=None if off is None else off.toe_m,
        body_clearance_m=None if off is None else off.body_m,
    )


def _track(log: FlightLog, start: int, end: int, course: Script) -> Track:
    """Return motion and velocity command from one tick to another, at least one later."""
    contract = log.contract
    if contract.velocity_command is None:
        raise EvaluationError("the policy takes no velocity command, and has no course to walk")
    where, yaw_rad = log.base_position_m, log.rpy_rad[:, 2]
    spec, action = contract.velocity_command, contract.action
    track = Track(course, spec, action, where[start], yaw_rad[start])
    for tick in range(start, end):
        t_s = float(log.deadline_ns[tick + 1] - log.deadline_ns[start]) / 1e9
        track.add(t_s, where[tick + 1], yaw_rad[tick + 1], log.velocity_command[tick])
    return track


def ending(cause: str) -> str:
    """Return the short name of a cause: the loop's fault, with the motor controller's own."""
    name = cause.partition(":")[0]
    return " ".join((name, *(str(fault.name) for fault in Fault if str(fault.name) in cause)))


Evaluator = PlantEvaluator | BoardEvaluator


def _make_evaluator(job: Evaluation, plant: CalibratedPlant | None) -> Evaluator:
    kind = BoardEvaluator if job.plant == EMULATOR else PlantEvaluator
    return kind(job, plant)


def evaluate(job: Evaluation, calibrated: PlantFile | None = None) -> Iterator[EpisodeResult]:
    """Run the episodes of a job, in order of index.

    Args:
        job: The job.
        calibrated: What ``job.calibrated()`` read, for a caller who needs it too; read here if left
            out. All episodes are on what was read, even if the file is changed meanwhile.

    Raises:
        EvaluationError: The job is impossible.
        DeployError: The policy file cannot be used.
        SimError: The plant's physics engine is not installed.
        BridgeError: The firmware of the emulated board does not build.
        SamplerError: The workers cannot be, or one died.
    """
    job.check()
    check_workers(job.workers)
    read = calibrated or job.calibrated()
    plant = None if read is None else read.plant
    if job.workers == 0:
        evaluator = _make_evaluator(job, plant)
        try:
            yield from map(evaluator.run, range(job.episodes))
        finally:
            evaluator.close()
        return
    # A bad file, or an engine that is not installed, is an error here and not in every worker.
    _make_evaluator(job, plant).close()
    episodes = range(job.episodes)
    yield from map_in_workers(_run_in_worker, episodes, job.workers, _start_worker, (job, plant))


# What a report has of every episode, so that a page can show how it is distributed.
_OF_EACH = ("index", "survived", "speed_mps", "mean_power_w", "bearable_s")


def summarize(
    job: Evaluation, results: list[EpisodeResult], calibrated: PlantFile | None = None
) -> dict[str, Any]:
    """Return the report of an evaluation: figures over all episodes, every fall with its plant.

    ``calibrated`` is what the episodes were on; read here if left out.
    """
    read = calibrated or job.calibrated()
    speeds = np.array([result.speed_mps for result in results])
    survived = sum(result.survived for result in results)
    steered = all(result.yaw_rate_error_rad_s is not None for result in results)
    errors = ("index", "survived", "speed_error_mps", "yaw_rate_error_rad_s")
    courses = [{name: getattr(result, name) for name in errors} for result in results]
    return {
        "policy": str(job.policy),
        "plant": job.plant,
        "model": job.model,
        "reference_only": job.reference_only,
        "randomization": job.randomization,
        "params": None if read is None else read.facts,
        "push_n": job.push,
        "terrain": job.terrain,
        "seed": job.seed,
        "seconds": job.seconds,
        "episodes": len(results),
        "survived": survived,
        "survival_rate": survived / len(results),
        "speed_mps": {
            "mean": float(speeds.mean()),
            "p5": float(np.percentile(speeds, 5)),
            "min": float(speeds.min()),
        },
        "mean_power_w": float(np.mean([result.mean_power_w for result in results])),
        "cost_of_transport": float(np.median([result.cost_of_transport for result in results])),
        "mean_abs_drift_m": _mean([None if r.drift_m is None else abs(r.drift_m) for r in results]),
        "course": (job.course or COURSE.name) if steered else None,
        "speed_error_mps": _mean([result.speed_error_mps for result in results]),
        "yaw_rate_error_rad_s": _mean([result.yaw_rate_error_rad_s for result in results]),
        "course_episodes": courses if steered else [],
        "bearable_s": float(np.median([result.bearable_s for result in results])),
        "toe_clearance_m": _typical([result.toe_clearance_m for result in results]),
        "body_clearance_m": _typical([result.body_clearance_m for result in results]),
        "overheated": sum(result.overheated for result in results),
        "causes": dict(Counter(ending(result.cause) for result in results if result.cause)),
        "each_episode": [{name: getattr(r, name) for name in _OF_EACH} for r in results],
        "falls": [_facts(result) for result in results if not result.survived],
    }


def _facts(result: EpisodeResult) -> dict[str, Any]:
    """Return a result without its dump, fit for JSON."""
    facts = dataclasses.asdict(dataclasses.replace(result, dump=None))
    del facts["dump"]
    return facts


def _mean(values: list[float | None]) -> float | None:
    """Return the mean; None where some values are None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _typical(values: list[float | None]) -> float | None:
    """Return the median of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


_evaluator: Evaluator  # of this process, where it is a worker


def _start_worker(job: Evaluation, plant: CalibratedPlant | None) -> None:
    global _evaluator
    obey_parent()
    _evaluator = _make_evaluator(job, plant)


def _run_in_worker(index: int) -> EpisodeResult:
    return _evaluator.run(index)


def write_dumps(results: Sequence[EpisodeResult], report: Path | None) -> Iterator[str]:
    """Write the dumps of the first simulations that diverged; yield a line on each.

    Args:
        results: Of the evaluation.
        report: The dumps lie beside it; without a report, in a folder for temporary files.
    """
    diverged = [(result.index, result.dump) for result in results if result.dump is not None]
    if not diverged:
        return
    folder = Path(tempfile.mkdtemp(prefix="minitaur-eval-")) if report is None else report.parent
    stem = "" if report is None else f"{report.stem}."
    for index, dump in diverged[:_MOST_DUMPS]:
        path = folder / f"{stem}episode{index}.npz"
        seen = f"see it again: {replay_command(path)}"
        try:
            write_dump(path, dump)
        except OSError as error:
            seen = f"no dump of it: {error}"
        yield f"episode {index}: {dump.facts['cause']}; {seen}"
    if (more := len(diverged) - _MOST_DUMPS) > 0:
        yield f"{more} more simulations diverged, of which there is no dump"


def _with_progress(
    job: Evaluation, calibrated: PlantFile | None, console: Console
) -> list[EpisodeResult]:
    """Collect the results behind a progress bar with survivors and speed so far."""
    results: list[EpisodeResult] = []
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("evaluating", total=job.episodes)
        for result in evaluate(job, calibrated):
            results.append(result)
            survived = sum(r.survived for r in results)
            speed = np.mean([r.speed_mps for r in results])
            progress.update(
                task, advance=1, description=f"{survived}/{len(results)} up, {speed:.2f} m/s"
            )
    return results


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0 when it ran, 1 when its report is not where it should be, 130 when interrupted.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    job = tyro.cli(Evaluation, args=arguments, prog="minitaur eval")
    console = Console(stderr=True)
    try:
        if job.report is not None:
            prove_writable(job.report)
        job.check()
        calibrated = job.calibrated()
        results = _with_progress(job, calibrated, console)
        report = summarize(job, results, calibrated)
    except KeyboardInterrupt:
        console.print("interrupted: nothing written")
        return EXIT_INTERRUPTED
    print(describe(job, report))
    for line in write_dumps(results, job.report):
        print(line)
    return EXIT_OK if job.report is None else save_report(report, job.report)


def save_report(report: dict[str, Any], path: Path) -> int:
    """Write a report; return the exit code: 0 if the path has it, 1 if something else has."""
    text = json.dumps(report, indent=2) + "\n"
    written = write_somewhere(path, lambda place: write_atomically(place, text.encode()))
    print(text if written is None else f"wrote {written}")
    return EXIT_OK if written == path else EXIT_FAULT


def describe(job: Evaluation, report: dict[str, Any]) -> str:
    """Return a report in one line."""
    speed, errors = report["speed_mps"], ""
    if report["yaw_rate_error_rad_s"] is not None:
        errors = (
            f"; mean errors {report['speed_error_mps']:.3f} m/s, "
            f"{report['yaw_rate_error_rad_s']:.3f} rad/s"
        )
    what = f"reference gait of {job.policy}" if job.reference_only else str(job.policy)
    robot = f" as {job.params}" if job.params else ""
    around = f", terrain {job.terrain}" if job.terrain != FLAT else ""
    around += f", pushes of {job.push:g} N" if job.push else ""
    ends = [f"{count} {cause}" for cause, count in report["causes"].items()]
    if report["overheated"]:
        ends.append(f"motors off in {report['overheated']}")
    lost = f" ({', '.join(ends)})" if ends else ""
    return (
        f"{what} on {job.plant}{robot}, randomization {job.randomization}{around}: "
        f"{report['survived']} of {report['episodes']} survived {job.seconds:g} s{lost}; "
        f"{speed['mean']:.3f} m/s mean, {speed['p5']:.3f} p5, {speed['min']:.3f} min; "
        f"{report['mean_power_w']:.1f} W, {in_words(report['bearable_s'])}; "
        f"cost of transport {report['cost_of_transport']:.2f}" + errors
    )


if __name__ == "__main__":
    sys.exit(main())
