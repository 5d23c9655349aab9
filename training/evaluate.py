"""The evaluation protocol: a policy file on many drawn plants, through the deployed controller.

Episode ``k`` of seed ``s`` is the same plant for every policy, so two reports can be compared
episode by episode. The distance of a robot that falls counts over the time of the whole episode: a
fall is never faster.

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

import logging
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from deploy.files import prove_writable
from robot_firmware_bridge.command_line import EXIT_INTERRUPTED, EXIT_OK, command
from robot_firmware_bridge.worker_process import obey_parent
from sim.plant.params_file import CalibratedPlant, PlantFile
from training.evaluation.job import EMULATOR, EpisodeResult, Evaluation
from training.evaluation.on_board import BoardEvaluator
from training.evaluation.on_plant import PlantEvaluator
from training.evaluation.report import describe, save_report, summarize, write_dumps
from training.rollout.samplers import check_workers, map_in_workers

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


_evaluator: Evaluator  # of this process, where it is a worker


def _start_worker(job: Evaluation, plant: CalibratedPlant | None) -> None:
    global _evaluator
    obey_parent()
    _evaluator = _make_evaluator(job, plant)


def _run_in_worker(index: int) -> EpisodeResult:
    return _evaluator.run(index)


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


if __name__ == "__main__":
    sys.exit(main())
