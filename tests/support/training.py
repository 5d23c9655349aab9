import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from training.rollout.episode import Episode
from training.rollout.policy import Normaliser, PolicySnapshot
from training.runs.config import ClipObjective, TrainConfig, config_from_json
from training.runs.presets import pendulum
from training.tasks.pendulum import InvertedPendulum
from training.train import train


@pytest.fixture
def tiny_config() -> TrainConfig:
    return make_tiny_config()


def make_tiny_config() -> TrainConfig:
    """Eight small updates on the pendulum, about a second; every mechanism of a run takes part."""
    base = pendulum()
    return replace(
        base,
        name="tiny",
        network=replace(base.network, policy_layers=(8,), value_layers=(8,)),
        ppo=replace(
            base.ppo,
            objective=ClipObjective(),
            gae_lambda=0.95,
            minibatch_size=32,
            policy_epochs=2,
            value_epochs=2,
            schedule="linear",
        ),
        total_steps=900,
        episodes_per_update=5,
        eval_every_updates=3,
        eval_episodes=2,
        checkpoint_every_updates=2,
        score_milestone=1.0,
        score_target=None,
    )


@pytest.fixture
def balancing_snapshot() -> PolicySnapshot:
    """A hand-made linear policy that keeps the pendulum up."""
    return PolicySnapshot(
        normaliser=Normaliser(np.zeros(5, np.float32), np.ones(5, np.float32), 5.0),
        layers=((np.array([[0.3, 0.3, 0.0, 3.0, 0.5]], np.float32), np.zeros(1, np.float32)),),
        activation="relu",
        action_std=np.full(1, 0.05, np.float32),
    )


def train_whole(config: str, folder: Path) -> None:
    """Train to the end, or go on, as a script does whose workers can import it again."""
    for _ in train(config_from_json(config), folder):
        pass


def train_until_interrupted(config: str, folder: Path, number: int) -> None:
    """Train until, in the first batch, a signal to all processes of the group interrupts."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(number, interrupt)
    begun = threading.Event()

    def press() -> None:
        begun.wait()
        os.killpg(0, number)

    threading.Thread(target=press, daemon=True).start()
    try:
        for _ in train(
            config_from_json(config), folder, on_steps=lambda steps: steps > 500 and begun.set()
        ):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kill_this_process() -> None:
    """Crash like a physics engine does, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


class NanPendulum(InvertedPendulum):
    """A task of a user's own with a bug: a NaN in step 7 of some episodes, as the seeds have it."""

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> Any:
        self.wrong = seed is not None and seed % 23 == 0
        return super().reset(seed=seed, **kwargs)

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        if self.wrong and self._steps == 8:
            observation = observation + np.array((0, 0, 0, np.nan, 0), np.float32)
        return observation, *rest


# Workers know them by the module in front of their names.
gymnasium.register("Test/Deadly-v0", entry_point="support.training:kill_this_process")
gymnasium.register("Test/Nan-v0", entry_point=NanPendulum)
NAN_TASK = "support.training:Test/Nan-v0"
NAN_EPISODE = 7  # the first of the training episodes of seed 0


def assert_same_episodes(first: Sequence[Episode], second: Sequence[Episode]) -> None:
    for a, b in zip(first, second, strict=True):
        assert (a.index, a.metrics) == (b.index, b.metrics)
        for name in ("observations", "actions", "rewards", "final_observation"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    """Makes an episode of noise, with any field overridden."""

    def make(index: int = 0, steps: int = 20, **fields: Any) -> Episode:
        rng = np.random.default_rng(index)
        values: dict[str, Any] = {
            "index": index,
            "observations": rng.standard_normal((steps, 5)).astype(np.float32),
            "actions": rng.standard_normal((steps, 1)).astype(np.float32),
            "rewards": rng.standard_normal(steps),
            "terminated": False,
            "final_observation": rng.standard_normal(5).astype(np.float32),
            "privileged": np.zeros((steps, 0), np.float32),
            "final_privileged": np.zeros(0, np.float32),
            "metrics": {},
            "env_seconds": 0.0,
        }
        return Episode(**{**values, **fields})

    return make
