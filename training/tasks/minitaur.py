"""The Minitaur tasks: what the policy sees, what it moves and what it is rewarded for.

A new task is one function here that returns a ``LocomotionTask``, and one line in
``training.tasks`` that registers it; see docs/tasks.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import stance
from deploy.policy.velocity_command import VelocityCommandSpec
from training.tasks import gaits, rewards
from training.tasks.env import LocomotionEnv, LocomotionTask

# Beside what the paper's policies see: the gait's clock, which a reference follows anyway, and the
# yaw rate with its recent sum. Unlike the yaw these do not drift, and without them a shove or a
# biased roll turns the robot for good.
_SENSES = (
    ObservationTerm("roll_pitch"),
    ObservationTerm("roll_pitch_rate"),
    ObservationTerm("yaw_rate"),
    ObservationTerm("recent_turn"),
    ObservationTerm("motor_offset"),
    ObservationTerm("gait_clock"),
)


def trot_task() -> LocomotionTask:
    """Make the hybrid trot: an open-loop gait plus a bounded feedback."""
    return LocomotionTask(
        contract=Contract(
            observation=_SENSES,
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=gaits.TROT, brace=gaits.BRACE),
        ),
        reward=rewards.TROT,
        top_speed_mps=1.3,
    )


def plain_trot_task(motor_angles: bool = False) -> LocomotionTask:
    """Make the hybrid trot of Tan et al. 2018 (arXiv 1804.10332, section III), for the ablation.

    Observation, bound of the feedback and reward are theirs, without what :func:`trot_task` adds.
    The gait is not: their reference falls within two seconds on the identified robot and under
    ideal motors alike. Where a second on the legs costs more than it earns, this reward teaches to
    fall sooner. So the gait is one close to theirs that walks.

    Args:
        motor_angles: See the eight motor angles too: 12 numbers instead of 4.
    """
    angles = (ObservationTerm("motor_offset"),) if motor_angles else ()
    return LocomotionTask(
        contract=Contract(
            observation=(
                ObservationTerm("roll_pitch"),
                ObservationTerm("roll_pitch_rate"),
                *angles,
            ),
            action=ActionSpec(scale_rad=(0.25,) * 8, lowpass_hz=0.0, gait=gaits.PLAIN_TROT),
        ),
        reward=rewards.PLAIN_TROT,
    )


def gallop_task() -> LocomotionTask:
    """Make the gallop: no reference, the network alone moves the legs.

    The policy sees a clock, and the legs move mostly in pairs: a bound, the gallop of a robot that
    cannot bend its back. The rest of the difference between left and right is there to steer with.
    Clock and height are those of the bound that its first policy imitates, see
    ``training.learner.imitation``.
    """
    bound = gaits.BOUND
    # Down to low legs before it runs: a bound of quick steps on them hardly falls.
    crouch = replace(
        stance(bound.frequency_hz),
        extension_centre_rad=bound.extension_centre_rad,
        ramp_s=bound.ramp_s,
    )
    return LocomotionTask(
        contract=Contract(
            observation=_SENSES,
            action=ActionSpec(
                scale_rad=(1.0,) * 4 + (0.5,) * 4,
                lowpass_hz=15.0,
                gait=crouch,
                asymmetry=0.3,
                brace=gaits.BRACE,
            ),
        ),
        reward=rewards.GALLOP,
        top_speed_mps=1.6,
    )


def steer_task() -> LocomotionTask:
    """Make the steered walk: a reference that follows the velocity command, plus feedback.

    The gyroscope measures how fast the robot turns. No sensor measures how fast it walks: the
    policy infers that from the gait, and from how the legs lag behind their targets.
    """
    return LocomotionTask(
        contract=Contract(
            observation=(*_SENSES, ObservationTerm("velocity_command")),
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=gaits.WALK, brace=gaits.BRACE),
            velocity_command=VelocityCommandSpec(
                speed_mps=(-0.2, 0.8),
                yaw_rate_rad_s=(-0.5, 0.5),
                speed_slew_mps2=0.8,
                yaw_rate_slew_rad_s2=1.0,
            ),
        ),
        reward=rewards.STEER,
    )


def make_trot(**kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Trot-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(trot_task(), **kwargs)


def make_plain_trot(motor_angles: bool = False, **kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/PlainTrot-v0``; arguments of its task and :class:`LocomotionEnv`."""
    return LocomotionEnv(plain_trot_task(motor_angles), **kwargs)


def make_gallop(**kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Gallop-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(gallop_task(), **kwargs)


def make_steer(**kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Steer-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(steer_task(), **kwargs)
