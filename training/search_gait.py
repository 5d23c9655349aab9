"""Search an open-loop gait: the reference of a hybrid trot or walk, or the bound to imitate.

``minitaur search-gait --help`` shows the options. The cross-entropy method varies
frequency, amplitudes, centre and lead of ``deploy.policy.gait.Gait``, a bound's hind phase and a
walk's steering. A gait is scored on the nominal plant, on plants drawn from Table I and under
shoves: by distance, or for a walk by time less the errors to the requested velocity, less a price
on energy. Prints the best gait.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.progress import track

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import Gait, Steering
from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS
from robot_firmware_bridge.worker_process import obey_parent
from sim.plant.params import Value, differing
from sim.plant.params_file import read_params
from training.errors import ConfigError
from training.rollout.samplers import map_in_workers
from training.tasks import gaits, rewards
from training.tasks.env import LocomotionEnv, LocomotionTask
from training.tasks.minitaur import steer_task

# Name, least and greatest value of what is searched.
_TROT = (
    ("frequency_hz", 3.0, 8.0),
    ("swing_amplitude_rad", 0.25, 0.9),
    ("extension_amplitude_rad", 0.1, 0.5),
    ("extension_centre_rad", 0.85, 1.5),
    ("swing_lead", -0.1, 0.35),
)
_WALK = (
    ("frequency_hz", 4.0, 8.0),
    ("swing_amplitude_rad", -0.05, 0.1),
    ("extension_amplitude_rad", 0.1, 0.35),
    ("extension_centre_rad", 0.7, 1.2),
    ("swing_lead", 0.05, 0.3),
    ("per_speed_rad", 0.2, 0.6),
    ("front_per_yaw_rate_rad", 0.0, 0.5),
    ("hind_per_yaw_rate_rad", 0.2, 1.0),
)
_SEARCHED = {"trot": _TROT, "bound": (*_TROT, ("hind_phase", 0.35, 0.75)), "walk": _WALK}
_START = {"trot": gaits.TROT, "bound": gaits.BOUND, "walk": gaits.WALK}


@dataclass(frozen=True, slots=True)
class Search:
    """Search an open-loop gait.

    Attributes:
        kind: Diagonal legs together, front legs and hind legs together, or one leg after another
            and steered.
        generations: Rounds of the cross-entropy method.
        population: Gaits tried per round.
        elite: Best gaits that shape the next round.
        plants: Plants of Table I per gait, beside the nominal one.
        params: Calibrated plants, files or names, on which a gait is tried as well.
        shoved: Trials per gait on the nominal plant under shoves.
        shove_n: Force of a 60 ms shove every 1.2 s in a random direction, N.
        seconds: Length of a trial.
        energy_price: Metres per joule, or seconds for a walk.
        seed: Seed of gaits and plants.
        workers: Processes, 1 or more.
    """

    kind: Literal["trot", "bound", "walk"] = "trot"
    generations: int = 6
    population: int = 40
    elite: int = 8
    plants: int = 3
    params: tuple[str, ...] = ()
    shoved: int = 2
    shove_n: float = 130.0
    seconds: float = 4.0
    energy_price: float = 0.008
    seed: int = 0
    workers: int = 2


def score(gait: Gait, search: Search, calibrated: Sequence[Mapping[str, Value]] = ()) -> float:
    """Return the mean reward per second over the trials; a fall ends a trial early.

    ``calibrated`` holds what differs from the nominal plant in each of ``search.params``.
    """
    task = _task(gait, search)
    still = np.zeros(NUM_MOTORS, dtype=np.float32)
    returns = []
    shoves = {"push_force_low_n": search.shove_n, "push_force_high_n": search.shove_n}
    kinds: tuple[tuple[str, int, Mapping[str, Value]], ...] = (
        ("none", 1, {}),
        ("table1", search.plants, {}),
        ("none", search.shoved, shoves),
        *(("none", 1, params) for params in calibrated),
    )
    for randomization, trials, params in kinds:
        env = LocomotionEnv(task, randomization=randomization, params=params)
        for trial in range(trials):
            env.reset(seed=search.seed + trial)
            over, total = False, 0.0
            while not over:
                _, reward, fell, timed_out, _ = env.step(still)
                total += reward
                over = fell or timed_out
            returns.append(total - 1.0 * fell)
        env.close()
    return float(np.mean(returns)) / search.seconds


def find(search: Search) -> tuple[Gait, float]:
    """Return the best gait found and its score.

    Raises:
        ConfigError: A value of the search is impossible.
        ParameterError: A calibrated plant cannot be read.
        SamplerError: The workers cannot be, or one died.
    """
    calibrated = [differing(read_params(name).params) for name in search.params]
    score_it = partial(score, search=search, calibrated=calibrated)
    for name in ("generations", "population", "elite", "workers"):
        if getattr(search, name) < 1:
            raise ConfigError(f"{name} must be 1 or more, got {getattr(search, name)}")
    rng = np.random.default_rng(search.seed)
    searched = _SEARCHED[search.kind]
    low, high = (np.array([entry[i] for entry in searched], dtype=float) for i in (1, 2))
    mean, std = (low + high) / 2, (high - low) / 3
    best, best_score = _START[search.kind], -math.inf
    for _ in track(range(search.generations), description="searching"):
        values = np.clip(rng.normal(mean, std, (search.population, len(searched))), low, high)
        tried = [_gait(row, search.kind) for row in values]
        scored = map_in_workers(score_it, tried, search.workers, obey_parent)
        scores = np.array(list(scored))
        order = np.argsort(-scores)
        elite = values[order[: search.elite]]
        mean, std = elite.mean(axis=0), elite.std(axis=0) + 0.02 * (high - low)
        if scores[order[0]] > best_score:
            best, best_score = tried[order[0]], float(scores[order[0]])
        print(f"best {scores[order[0]]:.3f}, elite {scores[order[: search.elite]].mean():.3f}")
    return best, best_score


def _task(gait: Gait, search: Search) -> LocomotionTask:
    """Make the gait alone, rewarded for metres, or as the steered walk for following requests."""
    contract = Contract(
        observation=(ObservationTerm("roll_pitch"),),
        action=ActionSpec(scale_rad=(0.0,) * NUM_MOTORS, lowpass_hz=0.0, gait=gait),
    )
    reward = {"progress": 1.0}
    if gait.steering is not None:
        contract = dataclasses.replace(
            contract, velocity_command=steer_task().contract.velocity_command
        )
        terms = ("alive", "speed_error", "yaw_rate_error")
        reward = {term: rewards.STEER[term] for term in terms}
    return LocomotionTask(contract, {**reward, "energy": search.energy_price}, search.seconds)


def _gait(values: NDArray[np.float64], kind: str) -> Gait:
    names = [entry[0] for entry in _SEARCHED[kind]]
    named: dict[str, Any] = dict(zip(names, map(float, values), strict=True))
    if kind == "bound":
        hind = named.pop("hind_phase")
        named["leg_phase"] = (0.0, hind, 0.0, hind)
    if kind == "walk":
        speed, front, hind = (named.pop(name) for name in names[-3:])
        named["steering"] = Steering((speed,) * NUM_LEGS, (-front, hind, front, -hind))
    return dataclasses.replace(_START[kind], **named)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    gait, its_score = find(tyro.cli(Search, args=arguments, prog="minitaur search-gait"))
    print(f"{gait}\nscore {its_score:.3f} per second, net of energy")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
