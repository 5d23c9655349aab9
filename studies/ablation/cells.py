"""What is measured of a policy of the ablation: episodes of the task it was trained for.

The policy acts by its mean, in its own simulator and on the twins, and is paid as in training.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.files import write_json
from robot_firmware_bridge.robot import NUM_MOTORS
from studies.ablation.conditions import EVALUATION_SEED, SIMULATORS, TASK, TWINS
from training.rollout.episode import Episode, Stream
from training.rollout.policy import Normaliser, PolicySnapshot
from training.rollout.samplers import EpisodeRunner, RolloutSpec, make_sampler

# Length of the episode whose outcome stands for the physics: on the floor, in motion.
_PROBE_S = 0.3


Environments = Mapping[str, Mapping[str, Any]]
Figures = dict[str, dict[str, Any]]


def measure(
    policy: PolicySnapshot, environments: Environments, episodes: int, workers: int
) -> Figures:
    """The figures of a policy in each of the environments, by name.

    Raises:
        SamplerError: The worker processes cannot produce episodes.
    """
    figures = {}
    for name, kwargs in environments.items():
        sampler = make_sampler(_spec(kwargs), workers)
        try:
            done = sampler.collect(policy, Stream.EVALUATION, range(episodes))
        finally:
            sampler.close()
        figures[name] = summarize(done, float(kwargs["episode_s"]))
    return figures


def summarize(episodes: Sequence[Episode], seconds: float) -> dict[str, Any]:
    """Figures over episodes; the distance of one that fell counts over the whole length."""
    metrics = [episode.metrics for episode in episodes]
    survived = sum(not m["fell"] for m in metrics)
    return {
        "episodes": len(episodes),
        "return": float(np.mean([m["return"] for m in metrics])),
        "returns": [float(m["return"]) for m in metrics],
        "survived": survived,
        "survival_rate": survived / len(episodes),
        "speed_mps": float(np.mean([m["distance_m"] for m in metrics])) / seconds,
        "mean_power_w": float(np.mean([m["mean_power_w"] for m in metrics])),
    }


def reference(path: Path, seconds: float, episodes: int, workers: int) -> Figures:
    """The figures of the reference gait alone, in every simulator and on the twins.

    Read from ``path`` if they are there, for these very environments; else measured and written.

    Raises:
        SamplerError: The worker processes cannot produce episodes.
        SimError: The twin's physics engine is not installed.
    """
    environments = {
        name: {**kwargs, "motor_angles": False, "episode_s": seconds}
        for name, kwargs in {**{s.name: s.kwargs for s in SIMULATORS.values()}, **TWINS}.items()
    }
    physics = {name: probe(kwargs) for name, kwargs in environments.items()}
    key = {"environments": environments, "physics": physics, "episodes": episodes}
    try:
        data = json.loads(path.read_text())
        if data["key"] == key:
            return dict(data["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not what this program writes: to be measured
    measured = measure(_constant(4, 0.0), environments, episodes, workers)
    data = {"key": key, "measured": measured}
    write_json(path, data)
    return measured


def last_policy(run: Path) -> PolicySnapshot:
    """The policy of a run's last checkpoint, not of its best: nothing is chosen by hindsight.

    Raises:
        CheckpointError: There is none.
    """
    from training.runs.checkpoint import load_policy

    return load_policy(run).policy


def probe(kwargs: Mapping[str, Any]) -> str:
    """What the code under an environment does, as a digest: all of one very short episode.

    A plant is repeatable bit for bit, so this changes when the physics, the draw of a plant, the
    pipeline or the reward does, and stays when a comment does.

    Raises:
        ConfigError: The environment cannot be made.
        SimError: Its physics engine is not installed.
    """
    return _probe(json.dumps({**kwargs, "episode_s": _PROBE_S}, sort_keys=True))


@functools.cache
def _probe(kwargs: str) -> str:
    runner = EpisodeRunner(_spec(json.loads(kwargs)))
    try:
        inputs = runner.env(Stream.EVALUATION).observation_space.shape or (0,)
        episode = runner.run(_constant(inputs[0], 0.5), Stream.EVALUATION, 0)
    finally:
        runner.close()
    outcome = episode.observations.tobytes() + episode.rewards.tobytes()
    return hashlib.sha256(outcome).hexdigest()[:16]


def _spec(kwargs: Mapping[str, Any]) -> RolloutSpec:
    return RolloutSpec(EVALUATION_SEED, TASK, dict(kwargs), dict(kwargs))


def _constant(inputs: int, size: float) -> PolicySnapshot:
    """A policy that does the same whatever it sees; nothing at all for a size of 0."""
    return PolicySnapshot(
        normaliser=Normaliser(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 5.0),
        weights=(np.zeros((NUM_MOTORS, inputs), np.float32),),
        biases=(np.linspace(-size, size, NUM_MOTORS, dtype=np.float32),),
        activation="relu",
        action_std=np.zeros(NUM_MOTORS, np.float32),
    )
