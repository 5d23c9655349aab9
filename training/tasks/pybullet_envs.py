"""The first Minitaur environment of ``pybullet_envs``, and its duck, as tasks of this stack.

The 28 observations, the action through the leg model, the gains, the control step of 10 ms,
episodes of 1000 steps, the reward and its weights are those of that environment. What differs:
docs/train.md, "The original environments".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import stance
from sim.plant.params import PlantParams
from training.tasks import rewards
from training.tasks.env import LocomotionEnv, LocomotionTask

# Its leg model has, for leg i with actions s_i and e_i, motor angles of
# ``pi - pi/4 (e_i + 1.5) +- pi/4 s_i``. In leg space that is an extension of 5 pi/8 - pi/4 e_i and
# a swing of -pi/4 s_i, which a contract describes without more code.
_EXTENSION_CENTRE_RAD = 5.0 * math.pi / 8.0
_SCALE_RAD = -math.pi / 4.0
_CONTROL_STEP_S = 0.010


def minitaur_task() -> LocomotionTask:
    """Make the walk on 28 observations, with no reference, no clock and no latency compensated.

    The low pass is ours. Without one a policy may command any jump; with this one the greatest jump
    in a control step, 0.85 rad, is just within the loop's rate limit.
    """
    return LocomotionTask(
        contract=Contract(
            observation=(
                ObservationTerm("motor_offset"),
                ObservationTerm("motor_velocity"),
                ObservationTerm("motor_torque"),
                ObservationTerm("orientation"),
            ),
            action=ActionSpec(
                scale_rad=(_SCALE_RAD,) * 8,
                lowpass_hz=5.0,
                gait=replace(
                    stance(), name="original stance", extension_centre_rad=_EXTENSION_CENTRE_RAD
                ),
            ),
            control_period_s=_CONTROL_STEP_S,
            kd=0.02,
        ),
        reward=rewards.ORIGINAL,
        episode_s=10.0,
        nominal=PlantParams(control_step_s=_CONTROL_STEP_S),
    )


def make_minitaur(**kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Minitaur-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(minitaur_task(), **kwargs)


def make_duck(**kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Duck-v0``: the same task with a duck on the robot's back."""
    return LocomotionEnv(minitaur_task(), **{"plant": "pybullet-duck", **kwargs})
