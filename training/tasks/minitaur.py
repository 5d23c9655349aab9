"""The Minitaur tasks: what the policy sees, what it moves and what it is paid for.

A new task is one function here that returns a ``LocomotionTask``, and one line in
``training.tasks`` that registers it; see docs/training.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deploy.policy.brace import brace
from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import Gait, bound, plain_trot, stance, trot, walk
from deploy.policy.velocity_command import VelocityCommandSpec
from training.tasks.env import LocomotionEnv, LocomotionTask

# Beside what the paper's policies see, the gait's clock, which a reference follows anyway, and the
# yaw rate with its recent sum: unlike the yaw they do not drift, and without them a shove or a
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
    """Hybrid trot: an open-loop gait plus a bounded feedback."""
    return LocomotionTask(
        contract=Contract(
            observation=_SENSES,
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=trot(), brace=brace()),
        ),
        reward={
            "progress": 1.0,
            "energy": 0.01,
            "drift": 0.3,
            "turn": 0.2,
            "tilt": 1.0,
            "fall": 2.0,
        },
    )


def plain_trot_task(motor_angles: bool = False) -> LocomotionTask:
    """The hybrid trot of Tan et al. 2018 (arXiv 1804.10332, section III), for the ablation.

    Their observation, bound of the feedback and reward, and nothing of what :func:`trot_task` adds
    to them. Their reference gait, though, falls within two seconds on the identified robot and
    under ideal motors alike, and where a second on the legs costs more than it earns this reward
    teaches to fall sooner: so a gait close to theirs that walks.

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
            action=ActionSpec(scale_rad=(0.25,) * 8, lowpass_hz=0.0, gait=plain_trot()),
        ),
        reward={"progress": 1.0, "energy": 0.008},
        episode_s=6.0,
    )


def _crouch(gait: Gait) -> Gait:
    """The clock of a gait and the height of its legs, and nothing that moves."""
    return replace(
        stance(gait.frequency_hz),
        extension_centre_rad=gait.extension_centre_rad,
        ramp_s=gait.ramp_s,
    )


def gallop_task() -> LocomotionTask:
    """Gallop: no reference, the network alone moves the legs.

    What it is given is a clock, which is to a gait what a metronome is to a tune, and legs that
    move mostly in pairs: a bound, the gallop of a robot that cannot bend its back. The rest of the
    difference between left and right is there to steer with. Clock and height are those of the
    bound that its first policy is fitted to, see ``training.learner.imitation``.
    """
    return LocomotionTask(
        contract=Contract(
            observation=_SENSES,
            action=ActionSpec(
                scale_rad=(1.0,) * 4 + (0.5,) * 4,
                lowpass_hz=15.0,
                # Down to low legs before it runs: a bound of quick steps on them hardly falls.
                gait=_crouch(bound()),
                asymmetry=0.3,
                brace=brace(),
            ),
        ),
        reward={
            "progress": 1.0,
            "energy": 0.0005,
            "drift": 0.3,
            "turn": 0.2,
            "tilt": 0.2,
            "fall": 0.3,
        },
        episode_s=4.0,
    )


def steer_task() -> LocomotionTask:
    """Steered walk: a reference that follows the command, plus a bounded feedback that helps.

    The gyroscope tells the policy how it turns. How fast it walks no sensor tells it: that it knows
    from the gait, and from how the legs lag behind their targets.
    """
    return LocomotionTask(
        contract=Contract(
            observation=(*_SENSES, ObservationTerm("velocity_command")),
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=walk(), brace=brace()),
            velocity_command=VelocityCommandSpec(
                speed_mps=(-0.2, 0.8),
                yaw_rate_rad_s=(-0.5, 0.5),
                speed_slew_mps2=0.8,
                yaw_rate_slew_rad_s2=1.0,
            ),
        ),
        reward={
            "alive": 1.0,
            "speed_error": 2.0,
            "yaw_rate_error": 1.5,
            "energy": 0.004,
            "tilt": 1.0,
            "fall": 2.0,
        },
    )


def make_trot(**kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/Trot-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(trot_task(), **kwargs)


def make_plain_trot(motor_angles: bool = False, **kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/PlainTrot-v0``; arguments of :class:`LocomotionEnv`.

    Args:
        motor_angles: See :func:`plain_trot_task`.
        **kwargs: Of :class:`LocomotionEnv`.
    """
    return LocomotionEnv(plain_trot_task(motor_angles), **kwargs)


def make_gallop(**kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/Gallop-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(gallop_task(), **kwargs)


def make_steer(**kwargs: Any) -> LocomotionEnv:
    """Entry point of ``MinitaurStack/Steer-v0``; arguments of :class:`LocomotionEnv`."""
    return LocomotionEnv(steer_task(), **kwargs)
