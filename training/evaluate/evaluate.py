"""The evaluation protocol: a policy file on many drawn plants, through the deploy pipeline.

``python -m training.evaluate --help`` teaches. Episode ``k`` of seed ``s`` is the same plant for
every policy, so two reports can be compared episode by episode; on the emulated board too, whose
plant is only not given the control step and the latency of Table I: it has a loop and a line of its
own. The robot that falls has walked its distance in the whole episode's time: falling is never
faster.

A policy that takes commands walks a course. Its distance is that along its own heading, and its
errors are those of ``deploy.record.metrics``: against the command as the contract's bounds let it follow
the course, changes of it included; a robot that fell is told to go on, and does not.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.errors import DeployError
from deploy.files import write_json
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.errors import SimError
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant
from training.errors import EvaluationError, TrainingError
from training.evaluate.board_run import ending
from training.evaluate.evaluate_board import BoardEvaluator, BoardResult, over_the_line
from training.evaluate.evaluation import EMULATOR, EpisodeResult, Evaluation, cost_of_transport
from training.tasks.course import COURSE
from training.tasks.env import LocomotionEnv, LocomotionTask

_STILL = np.zeros(NUM_MOTORS, dtype=np.float32)


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
            course=job.course_of(contract),
        )

    def run(self, index: int) -> EpisodeResult:
        """Episode ``index``, by the mean action."""
        observation, info = self._env.reset(seed=self._job.seed_of(index))
        params: PlantParams = info["params"]
        over = False
        while not over:
            action = _STILL if self._job.reference_only else self._policy(observation)
            observation, _, fell, timed_out, info = self._env.step(action)
            over = fell or timed_out
        metrics = info["metrics"]
        speed = metrics["distance_m"] / self._job.seconds
        power_w, mass_kg = metrics["mean_power_w"], self._env.plant.mass_kg
        return EpisodeResult(
            index=index,
            survived=not metrics["fell"] and not metrics["dropped"],
            distance_m=metrics["distance_m"],
            seconds=metrics["seconds"],
            speed_mps=speed,
            mean_power_w=power_w,
            cost_of_transport=cost_of_transport(power_w, mass_kg, speed),
            drift_m=None if self._policy.contract.command else metrics["drift_m"],
            overheated=bool(metrics["overheated"]),
            cause="fell" if metrics["fell"] else "dropped" if metrics["dropped"] else "",
            params=dataclasses.asdict(params),
            speed_error_mps=metrics.get("speed_error_mps"),
            yaw_rate_error_rad_s=metrics.get("yaw_rate_error_rad_s"),
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
    # A bad file, or an engine that is not installed, is told here, not by a broken pool.
    job.course_of(OnnxPolicy.load(job.policy).contract)
    if job.workers == 0 or job.plant == EMULATOR:
        evaluator = BoardEvaluator(job) if job.plant == EMULATOR else Evaluator(job)
        try:
            yield from map(evaluator.run, range(job.count))
        finally:
            evaluator.close()
        return
    make_plant(job.plant, job.model).close()
    with ProcessPoolExecutor(
        job.workers, multiprocessing.get_context("spawn"), _start_worker, (job,)
    ) as pool:
        yield from pool.map(_run_in_worker, range(job.count))


def summarize(job: Evaluation, results: list[EpisodeResult]) -> dict[str, Any]:
    """The report of an evaluation: figures over all episodes, and every fall with its plant."""
    speeds = np.array([result.speed_mps for result in results])
    survived = sum(result.survived for result in results)
    steered = all(result.yaw_rate_error_rad_s is not None for result in results)
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
        "mean_abs_drift_m": _mean([None if r.drift_m is None else abs(r.drift_m) for r in results]),
        "course": str(job.course or COURSE.name) if steered else None,
        "speed_error_mps": _mean([result.speed_error_mps for result in results]),
        "yaw_rate_error_rad_s": _mean([result.yaw_rate_error_rad_s for result in results]),
        "course_episodes": [_errors(result) for result in results] if steered else [],
        "overheated": sum(result.overheated for result in results),
        "causes": dict(Counter(ending(result.cause) for result in results if result.cause)),
        "falls": [dataclasses.asdict(result) for result in results if not result.survived],
        **over_the_line([result for result in results if isinstance(result, BoardResult)]),
    }


def _mean(values: list[float | None]) -> float | None:
    """The mean; None where some values are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _errors(result: EpisodeResult) -> dict[str, Any]:
    names = ("index", "survived", "speed_error_mps", "yaw_rate_error_rad_s")
    return {name: getattr(result, name) for name in names}


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
        task = progress.add_task("evaluating", total=job.count)
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
            write_json(job.report, report)
    except (TrainingError, DeployError, SimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: nothing written")
        return 130
    speed = report["speed_mps"]
    errors = ""
    if report["yaw_rate_error_rad_s"] is not None:
        errors = (
            f"; mean errors {report['speed_error_mps']:.3f} m/s, "
            f"{report['yaw_rate_error_rad_s']:.3f} rad/s"
        )
    what = f"reference gait of {job.policy}" if job.reference_only else str(job.policy)
    print(
        f"{what} on {job.plant}, randomization {job.randomization}: "
        f"{report['survived']} of {report['episodes']} survived {job.seconds:g} s; "
        f"{speed['mean']:.3f} m/s mean, {speed['p5']:.3f} p5, {speed['min']:.3f} min; "
        f"{report['mean_power_w']:.1f} W; cost of transport {report['cost_of_transport']:.2f}"
        + errors
        + (f"; wrote {job.report}" if job.report else "")
    )
    return 0
