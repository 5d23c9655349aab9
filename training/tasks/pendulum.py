"""A pole on a cart to balance: the smallest task that exercises the whole training stack.

The model is ``mjcf/inverted_pendulum.xml`` of the ``pybullet_data`` package; the environment around
it is this project's own.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet_data

from sim.engines.bullet import World, bullet
from training.errors import ConfigError
from training.tasks.checked_env import Action, CheckedEnv, Observation, Step

MODEL = Path(pybullet_data.getDataPath()) / "mjcf" / "inverted_pendulum.xml"
# Bodies and joints of that file, in Bullet's order: the rail is a body of its own.
_CART_BODY, _SLIDER, _HINGE = 1, 0, 2

CONTROL_STEP_S = 0.02
PHYSICS_STEPS = 4
MAX_FORCE_N = 100.0  # the file's motor gear
MAX_START_ANGLE_RAD = 0.1
FALLEN_ANGLE_RAD = 0.2

# Generous bounds of observations before the pole has fallen; the rail ends at 1 m.
_OBSERVATION_LIMIT = np.array((2.0, 50.0, 1.0, 1.0, 100.0), dtype=np.float32)


class InvertedPendulum(CheckedEnv):
    """Keeps the pole up by pushing the cart along its rail.

    Observation, shape (5,): cart position [m] and velocity [m/s], cosine and sine of the pole's
    angle, its rate [rad/s]. Action, shape (1,): force as a fraction of ``MAX_FORCE_N``; clipped.
    Reward 1 for every step that ends with the pole within ``FALLEN_ANGLE_RAD`` of upright. The
    episode is truncated after ``max_steps``.
    """

    def __init__(self, max_steps: int = 200) -> None:
        if max_steps < 1:
            raise ConfigError(f"max_steps must be 1 or more, got {max_steps}")
        self.observation_space = gymnasium.spaces.Box(-_OBSERVATION_LIMIT, _OBSERVATION_LIMIT)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._max_steps = max_steps
        self._steps = 0
        self._world = World()

    def _reset(self, options: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Start an episode with the pole leaning by up to ``MAX_START_ANGLE_RAD``."""
        self._steps = 0
        world = self._world
        # Loading anew is bit-for-bit repeatable; restoring a saved state is not, as the solver
        # remembers its last impulses.
        world.resetSimulation()
        world.setGravity(0.0, 0.0, -9.81)
        world.setTimeStep(CONTROL_STEP_S / PHYSICS_STEPS)
        world.loadMJCF(str(MODEL))
        for joint in (_SLIDER, _HINGE):  # Bullet's default motors hold every joint
            world.setJointMotorControl2(_CART_BODY, joint, bullet.VELOCITY_CONTROL, force=0.0)
        lean_rad = self.np_random.uniform(-MAX_START_ANGLE_RAD, MAX_START_ANGLE_RAD)
        world.resetJointState(_CART_BODY, _HINGE, lean_rad)
        return self._observe()[0], {}

    def _step(self, action: Action) -> Step:
        """Push the cart for one control step."""
        force_n = MAX_FORCE_N * float(np.clip(action[0], -1.0, 1.0))
        for _ in range(PHYSICS_STEPS):  # Bullet forgets a torque after each physics step
            self._world.setJointMotorControl2(
                _CART_BODY, _SLIDER, bullet.TORQUE_CONTROL, force=force_n
            )
            self._world.stepSimulation()
        self._steps += 1
        observation, angle_rad = self._observe()
        fallen = not abs(angle_rad) < FALLEN_ANGLE_RAD  # an angle of NaN is no balance
        truncated = not fallen and self._steps >= self._max_steps
        info = {"metrics": {"fell": float(fallen)}} if fallen or truncated else {}
        return observation, 0.0 if fallen else 1.0, fallen, truncated, info

    def _close(self) -> None:
        """End the physics server."""
        self._world.close()

    def _observe(self) -> tuple[Observation, float]:
        """Return the observation, and the pole's angle from upright, rad."""
        cart, pole = self._world.getJointStates(_CART_BODY, (_SLIDER, _HINGE))
        (x, speed), (angle, rate) = cart[:2], pole[:2]
        observation = np.array((x, speed, math.cos(angle), math.sin(angle), rate), dtype=np.float32)
        return observation, angle
