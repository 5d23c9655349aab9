"""What every task checks before it acts: its own state, and the action that it is given.

A task derives from ``CheckedEnv`` and writes what happens; see ``training.tasks.pendulum`` for a
small one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from numpy.typing import NDArray

Observation = NDArray[np.float32]
Action = NDArray[np.float32]
Step = tuple[Observation, float, bool, bool, dict[str, Any]]


class CheckedEnv(gymnasium.Env[Observation, Action], ABC):
    """An environment that refuses what it cannot do, with Gymnasium's errors.

    Actions are vectors of finite numbers, in the shape of ``action_space``; the task bounds them.
    Only a running episode can be stepped. An episode that ended, or failed in mid-step, needs a
    reset.
    """

    _running = False
    _closed = False

    @abstractmethod
    def _reset(self, options: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; ``np_random`` has been seeded."""

    @abstractmethod
    def _step(self, action: Action) -> Step:
        """Advance by one control step; the action has the right shape and is finite."""

    @abstractmethod
    def _close(self) -> None:
        """Release what the task holds; called once."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the seed decides all of it but the actions.

        Raises:
            ClosedEnvironmentError: The environment is closed.
        """
        self._check_open("reset")
        super().reset(seed=seed)
        self._running = False
        started = self._reset(options or {})
        self._running = True
        return started

    def step(self, action: Action) -> Step:
        """Advance by one control step.

        Raises:
            ClosedEnvironmentError: The environment is closed.
            ResetNeeded: No episode runs.
            InvalidAction: The action has another shape, or is not all finite numbers.
        """
        if not self._running:
            self._check_open("step")
            raise ResetNeeded("step: no episode runs; call reset first")
        action = self._checked(action)
        self._running = False  # should the step fail
        after = self._step(action)
        self._running = not (after[2] or after[3])
        return after

    def close(self) -> None:
        """Release everything. Idempotent."""
        if not self._closed:
            self._closed, self._running = True, False
            self._close()

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise ClosedEnvironmentError(f"{what}: the environment is closed; make a new one")

    def _checked(self, action: Action) -> Action:
        values = np.asarray(action)
        if values.shape != self.action_space.shape:
            raise InvalidAction(
                f"step: an action has the shape {self.action_space.shape}, not {values.shape}"
            )
        if values.dtype.kind not in "fiu":
            raise InvalidAction(f"step: an action is made of numbers, not of {values.dtype}")
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise InvalidAction(f"step: action[{first}] is {values[first]}, not a finite number")
        return values
