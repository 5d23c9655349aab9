"""The Minitaur tasks: what the policy sees, what it moves and what it is paid for.

A new task is one function here that returns a ``LocomotionTask``, and one line in
``training.tasks`` that registers it; see docs/training.md.
"""

from __future__ import annotations

from typing import Any

from deploy.contract import ActionSpec, Contract, ObservationTerm
from deploy.gaits import stance, trot
from training.tasks.locomotion import LocomotionEnv, LocomotionTask


def trot_task() -> LocomotionTask:
    """Hybrid trot: an open-loop gait plus a bounded feedback.

    Beside what the paper's policies see, the gait's clock, which the reference follows anyway, and
    the yaw rate: unlike the yaw it does not drift, and without it a biased roll turns the robot.
    """
    return LocomotionTask(
        contract=Contract(
            observation=(
                ObservationTerm("roll_pitch"),
                ObservationTerm("roll_pitch_rate"),
                ObservationTerm("yaw_rate"),
                ObservationTerm("motor_position"),
                ObservationTerm("gait_clock"),
            ),
            action=ActionSpec(scale_rad=(0.3,) * 8, lowpass_hz=0.0, gait=trot()),
        ),
        # Alive: so that a step in the gait is worth more than none, whatever it costs in energy.
        reward={
            "progress": 1.0,
            "energy": 0.012,
            "alive": 0.3,
            "drift": 0.3,
            "turn": 0.1,
            "tilt": 1.0,
        },
    )


def gallop_task() -> LocomotionTask:
    """Gallop from scratch: no reference, the policy sees attitude and motor angles."""
    return LocomotionTask(
        contract=Contract(
            observation=(
                ObservationTerm("roll_pitch"),
                ObservationTerm("roll_pitch_rate"),
                ObservationTerm("motor_position"),
            ),
            action=ActionSpec(scale_rad=(0.5,) * 8, lowpass_hz=0.0, gait=stance()),
        ),
        reward={"progress": 1.0, "energy": 0.002, "drift": 0.3, "turn": 0.1, "tilt": 0.5},
    )


def make_trot(**kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/Trot-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(trot_task(), **kwargs)


def make_gallop(**kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/Gallop-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(gallop_task(), **kwargs)
