"""The Minitaur tasks: what the policy sees, what it moves and what it is rewarded for.

A new task is one function here that returns a ``LocomotionTask``, one line at the end that makes
its environment, and one line in ``training.tasks`` that registers it; see docs/tasks.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import stance
from deploy.policy.generator import Modulation
from deploy.policy.velocity_command import VelocityCommandSpec
from sim.plant.params import PlantParams
from training.tasks import gaits, rewards
from training.tasks.course import Shares
from training.tasks.env import LocomotionEnv, LocomotionTask

# Beside what the paper's policies see: the gait's clock, which a reference follows anyway, and the
# yaw rate with its recent sum. Unlike the yaw these do not drift, and without them a shove or a
# biased roll turns the robot for good.
_SENSES = ("roll_pitch", "roll_pitch_rate", "yaw_rate", "recent_turn", "motor_offset", "gait_clock")


def _terms(*names: str) -> tuple[ObservationTerm, ...]:
    return tuple(ObservationTerm(name) for name in names)


def trot_task() -> LocomotionTask:
    """Make the hybrid trot: an open-loop gait plus a bounded feedback."""
    return LocomotionTask(
        contract=Contract(
            observation=_terms(*_SENSES),
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=gaits.TROT),
        ),
        reward=rewards.TROT,
        top_speed_mps=1.3,
    )


def trot_stock_task() -> LocomotionTask:
    """Make the trot for the Minitaur's own mainboard: no damping, and a step of 10 ms.

    That board's states are 9 to 19 ms old when they are used, and a command takes 6 ms to its legs.
    Without damping a gain of 1 lets the legs ring at 70 rad/s, at twice the power.
    """
    trot = trot_task()
    action = replace(
        trot.contract.action,
        scale_rad=(0.12,) * 4 + (0.2,) * 4,
        gait=gaits.STOCK_TROT,
    )
    return replace(
        trot,
        contract=replace(
            trot.contract, action=action, board="stock", control_period_s=0.010, kp=0.55, kd=0.0
        ),
        nominal=PlantParams(control_step_s=0.010, policy_latency_s=0.020),
    )


def demo_task() -> LocomotionTask:
    """Make the task of ``make demo``: a trot of short steps that has to learn to stride.

    The reference is that of :func:`trot_task` with so little swing that it walks at 0.3 m/s. The
    feedback is larger than a stride of the full trot, so the policy can add what is missing. What
    it learns is plain to see: the robot gets faster.
    """
    trot = trot_task()
    action = replace(
        trot.contract.action,
        scale_rad=(0.4,) * 4 + (0.2,) * 4,
        gait=replace(gaits.TROT, name="short_trot", swing_amplitude_rad=0.12),
    )
    contract = replace(trot.contract, action=action)
    return replace(trot, contract=contract, reward=rewards.DEMO, episode_s=3.0)


def plain_trot_task(motor_angles: bool = False) -> LocomotionTask:
    """Make the hybrid trot of Tan et al. 2018 (arXiv 1804.10332, section III), for the ablation.

    Observation, bound of the feedback and reward are theirs, without what :func:`trot_task` adds.
    The gait is not: their reference falls within two seconds on the identified robot and under
    ideal motors alike. Where a second on the legs costs more than it earns, this reward teaches to
    fall sooner. So the gait is one close to theirs that walks. With ``motor_angles`` the policy
    sees the eight motor angles too: 12 numbers instead of 4.
    """
    angles = ("motor_offset",) if motor_angles else ()
    return LocomotionTask(
        contract=Contract(
            observation=_terms("roll_pitch", "roll_pitch_rate", *angles),
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
            observation=_terms(*_SENSES),
            action=ActionSpec(
                scale_rad=(1.0,) * 4 + (0.5,) * 4,
                lowpass_hz=15.0,
                gait=crouch,
                asymmetry=0.3,
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
            observation=_terms(*_SENSES, "velocity_command"),
            action=ActionSpec((0.3,) * 8, lowpass_hz=10.0, gait=gaits.WALK),
            velocity_command=VelocityCommandSpec(
                speed_mps=(-0.2, 0.8),
                yaw_rate_rad_s=(-0.5, 0.5),
                speed_slew_mps2=0.8,
                yaw_rate_slew_rad_s2=1.0,
            ),
        ),
        reward=rewards.STEER,
    )


def steer_stock_task() -> LocomotionTask:
    """Make the steered walk for the Minitaur's own mainboard, within what its link may be sent.

    It sees what the policy of :func:`steer_task` does. It goes half as fast and turns a third as
    fast: the link bounds a leg's swing.
    """
    steer, stock = steer_task(), trot_stock_task()
    action = replace(
        stock.contract.action, scale_rad=(0.1,) * 4 + (0.2,) * 4, gait=gaits.STOCK_WALK
    )
    contract = replace(
        stock.contract,
        observation=steer.contract.observation,
        action=action,
        velocity_command=VelocityCommandSpec(
            speed_mps=(-0.1, 0.4),
            yaw_rate_rad_s=(-0.15, 0.15),
            speed_slew_mps2=0.8,
            yaw_rate_slew_rad_s2=1.0,
        ),
    )
    return replace(steer, contract=contract, reward=rewards.STEER_STOCK, nominal=stock.nominal)


def walk_task(modulated: bool = True, memory: bool = True) -> LocomotionTask:
    """Make the steered trot over rough ground: the policy moves the generator of its gait.

    It is blind. What it knows of the ground is how attitude and legs answered within the last
    tenths of a second, so it sees some of the past.

    Args:
        modulated: False for a policy that moves the legs only, for the ablation.
        memory: False for one that sees the present only, for the ablation.
    """
    past = {"history": 4, "every": 6} if memory else {}
    return LocomotionTask(
        contract=Contract(
            observation=(
                ObservationTerm("roll_pitch", **past),
                ObservationTerm("roll_pitch_rate", **past),
                ObservationTerm("motor_offset", **past),
                *_terms("yaw_rate", "heading_error", *(["unrest"] if memory else []), "gait_clock"),
                *_terms(*(["modulators"] if modulated else []), "velocity_command"),
            ),
            action=ActionSpec(
                (0.2,) * 8,
                lowpass_hz=10.0,
                gait=gaits.STEERED_TROT,
                modulation=Modulation(
                    frequency_hz=1.5,
                    extension_amplitude_rad=0.35,
                    extension_centre_rad=0.5,
                    swing_amplitude_rad=0.5,
                    phase=0.12,
                    lowpass_hz=3.0,
                )
                if modulated
                else None,
            ),
            velocity_command=VelocityCommandSpec(
                speed_mps=(-0.2, 1.3),
                yaw_rate_rad_s=(-0.5, 0.5),
                speed_slew_mps2=1.5,
                yaw_rate_slew_rad_s2=1.0,
            ),
        ),
        reward=rewards.WALK,
        # Full speed ahead is what people ask for most.
        requests=Shares(stop=0.1, straight=0.15, spot=0.1, ahead=0.35),
    )


# Of the first Minitaur environment of ``pybullet_envs``. Its leg model has, for leg i with actions
# s_i and e_i, motor angles of ``pi - pi/4 (e_i + 1.5) +- pi/4 s_i``. In leg space that is an
# extension of 5 pi/8 - pi/4 e_i and a swing of -pi/4 s_i, which a contract describes without more
# code.
_ORIGINAL_CENTRE_RAD = 5.0 * math.pi / 8.0
_ORIGINAL_SCALE_RAD = -math.pi / 4.0
_ORIGINAL_STEP_S = 0.010


def minitaur_task() -> LocomotionTask:
    """Make the walk of ``pybullet_envs``: no reference, no clock, no latency compensated.

    The 28 observations, the action through the leg model, the gains, the control step of 10 ms,
    episodes of 1000 steps, the reward and its weights are those of that environment. What differs:
    docs/train.md, "The original environments".

    The low pass is ours. Without one a policy may command any jump; with this one the greatest jump
    in a control step, 0.85 rad, is just within the loop's rate limit.
    """
    gait = replace(stance(), name="original stance", extension_centre_rad=_ORIGINAL_CENTRE_RAD)
    return LocomotionTask(
        contract=Contract(
            observation=_terms("motor_offset", "motor_velocity", "motor_torque", "orientation"),
            action=ActionSpec((_ORIGINAL_SCALE_RAD,) * 8, lowpass_hz=5.0, gait=gait),
            control_period_s=_ORIGINAL_STEP_S,
            kd=0.02,
        ),
        reward=rewards.ORIGINAL,
        episode_s=10.0,
        nominal=PlantParams(control_step_s=_ORIGINAL_STEP_S),
    )


def make_plain_trot(motor_angles: bool = False, **kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/PlainTrot-v0``; arguments of its task and :class:`LocomotionEnv`."""
    return LocomotionEnv(plain_trot_task(motor_angles), **kwargs)


def make_walk(modulated: bool = True, memory: bool = True, **kwargs: Any) -> LocomotionEnv:
    """Make ``MinitaurStack/Walk-v0``; arguments of its task and :class:`LocomotionEnv`."""
    return LocomotionEnv(walk_task(modulated, memory), **kwargs)


# The other environments; each takes the arguments of :class:`LocomotionEnv`.
make_trot = partial(LocomotionEnv, trot_task())
make_trot_stock = partial(LocomotionEnv, trot_stock_task())
make_demo = partial(LocomotionEnv, demo_task())
make_gallop = partial(LocomotionEnv, gallop_task())
make_steer = partial(LocomotionEnv, steer_task())
make_steer_stock = partial(LocomotionEnv, steer_stock_task())
make_minitaur = partial(LocomotionEnv, minitaur_task())
make_duck = partial(make_minitaur, plant="pybullet-duck")
