"""The evaluation protocol: a policy file on many drawn plants, through the deploy pipeline.

``python -m training.evaluate --help`` teaches. Episode ``k`` of seed ``s`` is the same plant for
every policy, so two reports can be compared episode by episode. The robot that falls has walked
its distance in the whole episode's time: falling is never faster.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.errors import DeployError
from deploy.files import write_atomically
from deploy.policy import OnnxPolicy
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.errors import SimError
from sim.minitaur import MODELS
from sim.params import GRAVITY_M_S2, PlantParams
from sim.plants import PLANTS
from sim.randomization import RANDOMIZATIONS
from training.errors import EvaluationError, TrainingError
from training.rollout import Stream, seed_sequence
from training.tasks.locomotion import LocomotionEnv, LocomotionTask

_STILL = np.zeros(NUM_MOTORS, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluate a policy on many drawn plants and write a report.

    Attributes:
        policy: ONNX policy file.
        plant: Physics to evaluate on: pybullet, mujoco, pybullet-full, pybullet-stock,
            pybullet-ideal (motors without limits), or pybullet-duck, where the duck on the robot's
            back must stay there as well.
        randomization: Ranges to draw plants from: none, table1 (Tan et al. 2018), beyond (that
            table, its ranges half as wide again), or original (pybullet_envs' randomiser).
        episodes: How many.
        seconds: Length of an episode.
        seed: Seed of the plants.
        report: Where to write the JSON report.
        workers: Processes; 0 for this one. The figures do not depend on it.
        push: Force of a 60 ms push every 1.2 s in a random direction, N; 0 for none.
        model: Robot model in the simulator.
        reference_only: Put a network of zeros in the policy's place: what the reference gait does
            without it, in the same episodes.
    """

    policy: Path = Path("policies/trot.onnx")
    plant: str = "pybullet"
    randomization: str = "none"
    episodes: int = 100
    seconds: float = 20.0
    seed: int = 0
    report: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    workers: int = 2
    push: float = 0.0
    model: str = "minitaur_rainbow_dash"
    reference_only: bool = False

    def check(self) -> None:
        """Refuse what cannot be evaluated.

        Raises:
            EvaluationError: Names the option, its value and what it can be.
        """
        known = {
            "plant": (self.plant, tuple(PLANTS)),
            "randomization": (self.randomization, tuple(RANDOMIZATIONS)),
            "model": (self.model, tuple(MODELS)),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                raise EvaluationError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
        if self.episodes < 1 or self.seconds <= 0.0 or self.workers < 0 or self.seed < 0:
            raise EvaluationError(
                "episodes and seconds must be positive, workers and seed 0 or more, got "
                f"episodes={self.episodes} seconds={self.seconds} workers={self.workers} "
                f"seed={self.seed}"
            )


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode of an evaluation; ``params`` replays it."""

    index: int
    survived: bool
    distance_m: float
    seconds: float
    speed_mps: float
    mean_power_w: float
    cost_of_transport: float
    drift_m: float
    overheated: bool
    params: dict[str, float]


class Evaluator:
    """Runs episodes of an evaluation in this process."""

    def __init__(self, job: Evaluation) -> None:
        self._job = job
        self._policy = OnnxPolicy.load(job.policy)
        pushes = {"push_force_low_n": job.push, "push_force_high_n": job.push}
        contract = self._policy.contract
        nominal = PlantParams(control_step_s=contract.control_period_s)
        self._env = LocomotionEnv(
            LocomotionTask(contract, reward={}, episode_s=job.seconds, nominal=nominal),
            randomization=job.randomization,
            params=pushes,
            model=job.model,
            plant=job.plant,
        )

    def run(self, index: int) -> EpisodeResult:
        """Episode ``index``, by the mean action."""
        seeds = seed_sequence(self._job.seed, Stream.EVALUATION, index)
        observation, info = self._env.reset(seed=int(seeds.generate_state(1)[0]))
        params: PlantParams = info["params"]
        over = False
        while not over:
            action = _STILL if self._job.reference_only else self._policy(observation)
            observation, _, fell, timed_out, info = self._env.step(action)
            over = fell or timed_out
        metrics = info["metrics"]
        speed = metrics["distance_m"] / self._job.seconds
        weight_n = GRAVITY_M_S2 * self._env.plant.mass_kg
        return EpisodeResult(
            index=index,
            survived=not metrics["fell"] and not metrics["dropped"],
            distance_m=metrics["distance_m"],
            seconds=metrics["seconds"],
            speed_mps=speed,
            mean_power_w=metrics["mean_power_w"],
            cost_of_transport=metrics["mean_power_w"] / (weight_n * max(speed, 1e-3)),
            drift_m=metrics["drift_m"],
            overheated=bool(metrics["overheated"]),
            params=dataclasses.asdict(params),
        )

    def close(self) -> None:
        """Release the plant."""
        self._env.close()


def evaluate(job: Evaluation) -> Iterator[EpisodeResult]:
    """Run the episodes of a job, in order of index.

    Raises:
        EvaluationError: The job is impossible.
        DeployError: The policy file cannot be used.
        SimError: The plant's physics engine is not installed.
    """
    job.check()
    if job.workers == 0:
        evaluator = Evaluator(job)
        try:
            yield from map(evaluator.run, range(job.episodes))
        finally:
            evaluator.close()
        return
    # A bad file, or an engine that is not installed, is told here, not by a broken pool.
    OnnxPolicy.load(job.policy)
    PLANTS[job.plant](job.model).close()
    with ProcessPoolExecutor(
        job.workers, multiprocessing.get_context("spawn"), _start_worker, (job,)
    ) as pool:
        yield from pool.map(_run_in_worker, range(job.episodes))


def summarize(job: Evaluation, results: list[EpisodeResult]) -> dict[str, Any]:
    """The report of an evaluation: figures over all episodes, and every fall with its plant."""
    speeds = np.array([result.speed_mps for result in results])
    survived = sum(result.survived for result in results)
    return {
        "policy": str(job.policy),
        "plant": job.plant,
        "model": job.model,
        "reference_only": job.reference_only,
        "randomization": job.randomization,
        "push_n": job.push,
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
        "mean_abs_drift_m": float(np.mean([abs(result.drift_m) for result in results])),
        "overheated": sum(result.overheated for result in results),
        "falls": [dataclasses.asdict(result) for result in results if not result.survived],
    }


_evaluator: Evaluator | None = None


def _start_worker(job: Evaluation) -> None:
    global _evaluator
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _evaluator = Evaluator(job)


def _die_with_parent() -> None:
    """Ends this worker when the evaluation is gone, even if it was killed and could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(index: int) -> EpisodeResult:
    if _evaluator is None:
        raise EvaluationError("the worker was not started")
    return _evaluator.run(index)


def _with_progress(job: Evaluation, console: Console) -> list[EpisodeResult]:
    """Collect the results behind a progress bar with survivors and speed so far."""
    results: list[EpisodeResult] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("evaluating", total=job.episodes)
        for result in evaluate(job):
            results.append(result)
            survived = sum(r.survived for r in results)
            speed = np.mean([r.speed_mps for r in results])
            progress.update(
                task, advance=1, description=f"{survived}/{len(results)} up, {speed:.2f} m/s"
            )
    return results


def main() -> int:
    """Command line; exit code 0 when the evaluation ran, 2 on bad input, 130 when interrupted."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    job = tyro.cli(Evaluation)
    console = Console(stderr=True)
    try:
        report = summarize(job, _with_progress(job, console))
        if job.report is not None:
            write_atomically(job.report, (json.dumps(report, indent=2) + "\n").encode())
    except (TrainingError, DeployError, SimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: nothing written")
        return 130
    speed = report["speed_mps"]
    what = f"reference gait of {job.policy}" if job.reference_only else str(job.policy)
    print(
        f"{what} on {job.plant}, randomization {job.randomization}: "
        f"{report['survived']} of {report['episodes']} survived {job.seconds:g} s; "
        f"{speed['mean']:.3f} m/s mean, {speed['p5']:.3f} p5, {speed['min']:.3f} min; "
        f"{report['mean_power_w']:.1f} W; cost of transport {report['cost_of_transport']:.2f}"
        + (f"; wrote {job.report}" if job.report else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
