"""The conditions of the ablation: what the trot is trained in, and what it is then measured on.

After section V of Tan et al. 2018 (arXiv 1804.10332): the simulator gains one thing at a time, with
the small and with the large observation. Everything else is the same for all. Change a value here
and its results are computed anew; nothing of this is a setting but the steps and the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.errors import EvaluationError
from training.runs.config import ClipObjective, TrainConfig
from training.runs.presets import trot

SEEDS = 3
STEPS = 100_000
# Of a training: length of an episode, and episodes in a batch.
TRAINING_S = 5.0
BATCH = 6
EPISODES = 20
SECONDS = 10.0
# Of the measured episodes; training draws from the cell's own seed.
EVALUATION_SEED = 1000
TASK = "MinitaurStack/PlainTrot-v0"

_NO_LATENCY = {"pd_latency_s": 0.0, "policy_latency_s": 0.0}


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator to train in.

    Attributes:
        name: Its key in results.
        title: What it has, for people.
        kwargs: Arguments of the environment.
    """

    name: str
    title: str
    kwargs: Mapping[str, Any]


# Each has one thing more than the one before. The IMU's nominal noise of 0.001 is in all of them:
# it is a fact of the sensor, and without it every episode of the first two would be the same one.
SIMULATORS: dict[str, Simulator] = {
    simulator.name: simulator
    for simulator in (
        Simulator("ideal", "ideal motors", {"plant": "pybullet-ideal", "params": _NO_LATENCY}),
        Simulator("actuator", "+ actuator model", {"params": _NO_LATENCY}),
        Simulator("latency", "+ latency", {}),
        Simulator("table1", "+ randomisation", {"randomization": "table1"}),
    )
}

# Stand-ins for the robot. No policy has been trained on that engine.
TWINS: dict[str, Mapping[str, Any]] = {
    "twin": {"plant": "mujoco"},
    "twin_table1": {"plant": "mujoco", "randomization": "table1"},
}

# Size of the observation, and whether the motor angles are in it.
OBSERVATIONS: dict[int, bool] = {4: False, 12: True}


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to train.

    Attributes:
        simulator: What in.
        observation: Numbers that the policy sees, a key of ``OBSERVATIONS``.
    """

    simulator: Simulator
    observation: int

    @property
    def name(self) -> str:
        """Its key in results."""
        return f"{self.simulator.name}-{self.observation}d"

    def config(self, seed: int, steps: int, workers: int) -> TrainConfig:
        """What is trained: the algorithm of ``trot``, in batches small enough for short runs."""
        base = trot()
        return replace(
            base,
            name=f"ablation_{self.name}",
            task=TASK,
            task_kwargs={**self._task_kwargs(self.simulator.kwargs), "episode_s": TRAINING_S},
            eval_kwargs={},
            # Under stiff motors the noise of ``trot`` would cost more than walking earns.
            network=replace(base.network, init_log_std=-2.0),
            ppo=replace(
                base.ppo,
                objective=ClipObjective(stop_kl=0.1),
                schedule_kl=0.03,
                policy_learning_rate=3e-4,
                minibatch_size=512,
            ),
            total_steps=steps,
            episodes_per_update=BATCH,
            # The last policy counts, not the best: an evaluation on the way would only cost time.
            eval_every_updates=1_000_000,
            eval_episodes=1,
            checkpoint_every_updates=3,
            score_metric="return",
            score_milestone=None,
            seed=seed,
            workers=workers,
        )

    def measurements(self, seconds: float) -> dict[str, dict[str, Any]]:
        """The environments that its policies are measured in: its own simulator and the twins."""
        own = {"simulator": self.simulator.kwargs}
        return {
            name: {**self._task_kwargs(kwargs), "episode_s": seconds}
            for name, kwargs in {**own, **TWINS}.items()
        }

    def _task_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {**kwargs, "motor_angles": OBSERVATIONS[self.observation]}


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition(simulator, observation)
        for observation in OBSERVATIONS
        for simulator in SIMULATORS.values()
    )
}


def chosen_conditions(names: tuple[str, ...]) -> list[Condition]:
    """Conditions by name, in the order of the table; all of them for no names.

    Raises:
        EvaluationError: There is no such condition.
    """
    unknown = sorted(set(names) - set(CONDITIONS))
    if unknown:
        raise EvaluationError(f"unknown conditions {unknown}; known: {', '.join(CONDITIONS)}")
    return [c for name, c in CONDITIONS.items() if not names or name in names]
