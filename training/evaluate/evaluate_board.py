"""Episodes of an evaluation on the emulated board, one after another, in real time.

Each is a run of the unmodified deploy loop. An episode that the computer ended, because the loop or
the board did not run in time or did not start, says nothing of the policy and is tried anew; every
such try is in the report, and an episode that is disturbed in every try counts as not survived.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.policy.onnx_policy import OnnxPolicy
from sim.plant.randomization import drawn
from sim.plant.registry import make_plant
from training.errors import EvaluationError
from training.evaluate.board_run import BoardRun, Line, run_on_board
from training.evaluate.evaluation import EpisodeResult, Evaluation, cost_of_transport

# How often an episode that the computer disturbs is tried.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class BoardResult(EpisodeResult):
    """An episode on the emulated board.

    Attributes:
        disturbances: How the computer ended the tries at this episode that it ended; if it ended
            the last one too, the episode counts as not survived.
        line: How line and loop did in the last try.
    """

    disturbances: tuple[str, ...]
    line: Line

    @property
    def disturbed(self) -> bool:
        """Whether the computer ended every try."""
        return len(self.disturbances) == _TRIES


class BoardEvaluator:
    """Runs episodes of an evaluation on the emulated board, in real time."""

    def __init__(self, job: Evaluation) -> None:
        self._job = job
        self._scales = make_plant()
        contract = OnnxPolicy.load(job.policy).contract
        self._control_step_s = contract.control_period_s
        self._course = None if contract.command is None else job.script

    def run(self, index: int) -> BoardResult:
        """Episode ``index``; tried anew if the computer, and not the policy, ended it.

        Raises:
            EvaluationError: The loop cannot be started, or is interrupted, in every try.
        """
        job, seed = self._job, self._job.seed_of(index)
        run, disturbances = self._undisturbed(seed)
        # The loop has the period of its contract, whatever is drawn.
        params = dataclasses.replace(
            drawn(job.randomization, seed), control_step_s=self._control_step_s
        )
        self._scales.reset(params)
        speed, errors = run.distance_m / job.seconds, run.tracking
        return BoardResult(
            index=index,
            survived=not run.cause,
            distance_m=run.distance_m,
            seconds=run.seconds,
            speed_mps=speed,
            mean_power_w=run.mean_power_w,
            cost_of_transport=cost_of_transport(run.mean_power_w, self._scales.mass_kg, speed),
            drift_m=run.drift_m,
            speed_error_mps=None if errors is None else errors.speed_error_mps,
            yaw_rate_error_rad_s=None if errors is None else errors.yaw_rate_error_rad_s,
            overheated="OVERHEAT" in run.cause,
            cause=run.cause,
            params=dataclasses.asdict(params),
            disturbances=disturbances,
            line=run.line,
        )

    def _undisturbed(self, seed: int) -> tuple[BoardRun, tuple[str, ...]]:
        """The first run that was not disturbed, or the last one; and how the others were."""
        job, disturbances = self._job, []
        for further in reversed(range(_TRIES)):
            try:
                run = run_on_board(job.policy, job.randomization, seed, job.seconds, self._course)
            except EvaluationError as error:
                if not further:
                    raise
                disturbances.append(str(error))
                continue
            if not run.disturbance:
                break
            disturbances.append(run.disturbance)
        return run, tuple(disturbances)

    def close(self) -> None:
        """Release the plant."""
        self._scales.close()


def over_the_line(results: Sequence[BoardResult]) -> dict[str, Any]:
    """What only episodes over a serial line have: sums over them, and the worst round trip."""
    if not results:
        return {}
    lines = [dataclasses.asdict(result.line) for result in results]
    trips = [line.pop("round_trip_p99_us") for line in lines]
    known = [trip for trip in trips if trip is not None]
    sums = {name: sum(line[name] for line in lines) for name in lines[0]}
    return {
        "line": {**sums, "round_trip_p99_us": max(known, default=None)},
        "disturbed": sum(result.disturbed for result in results),
        "disturbances": {r.index: list(r.disturbances) for r in results if r.disturbances},
    }
