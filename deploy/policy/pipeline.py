"""Robot state to network input, network output to motor targets: the contract at work.

``deploy.policy.controller`` steps it, in training and on the robot. A mismatch of order, scale,
pose or reference between the two cannot arise. Imports numpy and the bridge only.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deploy.errors import ContractError
from deploy.policy import low_pass
from deploy.policy.contract import Contract, ObservationTerm
from deploy.policy.generator import NUM_MODULATORS, Generator
from deploy.policy.velocity_command import STOP, VELOCITY_SIZE
from robot_firmware_bridge.geometry import body_to_world, leg_to_motor, quaternion_from_rpy
from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]

# A gyroscope's bias is summed up too: forgetting bounds what comes of it to bias x this.
_FORGET_S = 2.0
# Some six steps of a trot: what the ground was like lately.
_LATELY_S = 1.0
# Summed up for good, an error of the heading is bounded: a robot that was held fast must not turn
# for ever once it is free.
MOST_ASTRAY_RAD = 0.5
# Far more than any policy of this robot sees, little enough for a tick.
MAX_OBSERVATION_SIZE = 4096


def term_slices(contract: Contract) -> list[slice]:
    """Return the slice of each term in an observation, in order.

    Raises:
        ContractError: A term is unknown, or the terms are too many numbers.
    """
    _check_terms(contract)
    sizes = [_kind_of(term)[0] * term.history for term in contract.observation]
    ends = np.cumsum(sizes).tolist()
    if ends[-1] > MAX_OBSERVATION_SIZE:
        raise ContractError(
            f"contract.observation has {ends[-1]} numbers, at most {MAX_OBSERVATION_SIZE} are "
            "allowed: give its terms a shorter history"
        )
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


class Pipeline:
    """Runs a contract: builds observations and turns actions into motor targets.

    One control step is ``observe`` then ``targets`` with the same time, the seconds since the
    policy took over. The returned observation is a buffer that the next ``observe`` overwrites.

    Attributes:
        requested_velocity: Requested forward speed, m/s, and yaw rate, rad/s; set it at any time.
            The velocity command follows it from the next ``observe`` on, within the bounds of the
            contract.
        velocity_command: Velocity command that the policy follows now, shape (2,); a buffer.
        generator: The gait at work.
        last_action: The network's outputs for the legs in the step before, clipped, shape (8,).
        last_target_rad: Motor target that was sent last, shape (8,), the stance at first; whoever
            sends it sets it.
        observation_size: Length of the observation vector.

    Raises:
        ContractError: The contract is for another robot, names an unknown term, or has a term that
            needs what the contract lacks.
    """

    def __init__(self, contract: Contract, robot: RobotDescription = MINITAUR) -> None:
        contract.check_robot(robot)
        self.contract, self.robot = contract, robot
        self.velocity_command = np.zeros(VELOCITY_SIZE)
        self.generator = Generator(contract.action.gait, contract.action.modulation)
        self._scale = np.array(contract.action.scale_rad)
        self._asymmetry = contract.action.asymmetry
        self._lowpass_hz = contract.action.lowpass_hz
        swing, (low, high) = robot.swing_limit_rad, robot.extension_limits_rad
        self._leg_low = np.repeat((-swing, low), NUM_LEGS)
        self._leg_high = np.repeat((swing, high), NUM_LEGS)
        self.stance_rad = robot.stance_pose_rad
        self._kinds = [_kind_of(term) for term in contract.observation]
        slices = term_slices(contract)
        self.observation_size = slices[-1].stop
        self._observation = np.zeros(self.observation_size, dtype=np.float32)
        self._blocks = [self._observation[where] for where in slices]
        # What the values that a term stacks are taken from: those of every step, newest first.
        self._past = [
            np.zeros((term.every * (term.history - 1) + 1, size), dtype=np.float32)
            for term, (size, _) in zip(contract.observation, self._kinds, strict=True)
        ]
        self._action = np.zeros(contract.action.size)
        self.last_action, self._modulators = np.split(self._action, (NUM_MOTORS,))
        self._filtered = np.zeros(NUM_MOTORS)
        self.reset()

    def reset(self) -> None:
        """Forget the run before; the next observation fills every history with itself."""
        self.requested_velocity = STOP
        for buffer in (self.velocity_command, self._action, self._filtered):
            buffer[:] = 0.0
        self._last_t_s = self._seen_t_s = self.turned_rad = self.astray_rad = 0.0
        self.unrest_rad_s = 0.0
        self.last_target_rad = self.stance_rad
        self.generator.reset()
        self._fresh = True

    def observe(self, state: RobotState, t_s: float) -> NDArray[np.float32]:
        """Return the network's input at time ``t_s``, shape (O,), float32."""
        dt_s = t_s - self._seen_t_s
        self.turned_rad *= math.exp(-dt_s / _FORGET_S)
        self.turned_rad += dt_s * float(state.angular_rate_rad_s[2])
        self._seen_t_s = t_s
        if self._fresh:
            self.first_yaw_rad = float(state.rpy_rad[2])
        if self.contract.velocity_command is not None:
            self.contract.velocity_command.follow(
                self.velocity_command, self.requested_velocity, dt_s
            )
        roll_rate, pitch_rate, _ = state.angular_rate_rad_s.tolist()
        new = 1.0 - math.exp(-dt_s / _LATELY_S)
        self.unrest_rad_s += new * (math.hypot(roll_rate, pitch_rate) - self.unrest_rad_s)
        turning = float(body_to_world(state.rpy_rad, state.angular_rate_rad_s)[2])
        astray = self.astray_rad + dt_s * (turning - float(self.velocity_command[1]))
        self.astray_rad = min(max(astray, -MOST_ASTRAY_RAD), MOST_ASTRAY_RAD)
        self.generator.advance(t_s)
        for term, (_, read), past, block in zip(
            self.contract.observation, self._kinds, self._past, self._blocks, strict=True
        ):
            value = read(self, state) * term.scale
            if term.clip is not None:
                value = np.minimum(np.maximum(value, -term.clip), term.clip)
            if term.history == 1:
                block[:] = value
                continue
            past[1:] = value if self._fresh else past[:-1].copy()
            past[0] = value
            block[:] = past[:: term.every].ravel()
        self._fresh = False
        return self._observation

    def targets(self, action: NDArray[np.floating], t_s: float) -> Array:
        """Return the motor targets for a network output at time ``t_s``, shape (8,), rad."""
        np.minimum(np.maximum(action, -1.0), 1.0, out=self._action)
        if self._asymmetry != 1.0:
            self._pair(self.last_action)
        if self._lowpass_hz > 0.0:
            dt_s = t_s - self._last_t_s
            low_pass.follow(self._filtered, self.last_action, self._lowpass_hz, dt_s)
        else:
            self._filtered[:] = self.last_action
        self._last_t_s = t_s
        self.generator.modulate(self._modulators, t_s)
        leg = self.generator.leg_targets(t_s, self.velocity_command) + self._scale * self._filtered
        return leg_to_motor(np.minimum(np.maximum(leg, self._leg_low), self._leg_high))

    def _pair(self, action: Array) -> None:
        """Draw each left leg and the right leg beside it together, in place; see ``ActionSpec``."""
        sides = action.reshape(2, 2, 2)  # swing or extension, left or right, front or hind
        mean = sides.mean(axis=1, keepdims=True)
        sides -= mean
        sides *= self._asymmetry
        sides += mean


def _orientation(p: Pipeline, s: RobotState) -> Array:
    """Return the attitude to the heading at the start, quaternion (x, y, z, w), shape (4,)."""
    roll, pitch, yaw = s.rpy_rad
    return quaternion_from_rpy(np.array((roll, pitch, yaw - p.first_yaw_rad)))


def _clock(phase_rad: float) -> Array:
    return np.array((math.sin(phase_rad), math.cos(phase_rad)))


# Size of each term of the observation, and how it is read of a pipeline and a state. Angles in rad,
# rates in rad/s. ``RESOLUTION`` has every term too.
_Read = Callable[[Pipeline, RobotState], Array]
TERMS: dict[str, tuple[int, _Read]] = {
    "roll_pitch": (2, lambda _, s: s.rpy_rad[:2]),
    "roll_pitch_rate": (2, lambda _, s: s.angular_rate_rad_s[:2]),  # about the body's axes
    "yaw_rate": (1, lambda _, s: s.angular_rate_rad_s[2:]),  # about the body's axis
    # The body's yaw rate, summed up and forgotten with a time constant of _FORGET_S.
    "recent_turn": (1, lambda p, _: np.array((p.turned_rad,))),
    # Mean turn rate about the body's roll and pitch axes, forgotten with a time constant of
    # _LATELY_S: how much the body was shaken.
    "unrest": (1, lambda p, _: np.array((p.unrest_rad_s,))),
    # The heading less the commanded one: the turn rate about the vertical, less the command, summed
    # up since the start.
    "heading_error": (1, lambda p, _: np.array((p.astray_rad,))),
    "motor_offset": (8, lambda p, s: s.motor_position_rad - p.stance_rad),
    # The angles themselves, wrapped to [-pi, pi).
    "motor_position": (8, lambda _, s: (s.motor_position_rad + math.pi) % math.tau - math.pi),
    # About the world's x and y axes.
    "world_roll_pitch_rate": (2, lambda _, s: body_to_world(s.rpy_rad, s.angular_rate_rad_s)[:2]),
    "motor_velocity": (8, lambda _, s: s.motor_velocity_rad_s),
    "motor_torque": (8, lambda _, s: s.motor_torque_nm),  # Nm, as the controller knows them
    # The yaw of an IMU means nothing at first and drifts later: the first is undone here, the
    # second is why the policies of Tan et al. 2018 see no yaw.
    "orientation": (4, _orientation),
    # Sine and cosine of the gait's phase.
    "gait_clock": (2, lambda p, _: _clock(p.generator.phase_rad)),
    # What the network has changed of the gait, each in [-1, 1].
    "modulators": (NUM_MODULATORS, lambda p, _: p.generator.modulators),
    "last_action": (8, lambda p, _: p.last_action),  # for the legs, the step before, clipped
    # Forward speed, m/s, and yaw rate.
    "velocity_command": (VELOCITY_SIZE, lambda p, _: p.velocity_command),
}


# Deviation of each term, in its unit, that means nothing: about the noise of a sensor, the play of
# a joint, or the error of a zero. A term that varied by less in training has taught a policy
# nothing, and must not be scaled up so that such a deviation counts. In a walk each varies by more.
# One number for all components of a term, or one for each.
RESOLUTION: dict[str, float | tuple[float, ...]] = {
    "roll_pitch": 0.02,
    "roll_pitch_rate": 0.1,
    "yaw_rate": 0.05,
    "recent_turn": 0.01,
    "unrest": 0.05,
    "heading_error": 0.01,
    "motor_offset": 0.05,
    "motor_position": 0.05,
    "world_roll_pitch_rate": 0.1,
    "motor_velocity": 0.5,
    "motor_torque": 0.1,
    "orientation": (0.01, 0.01, 0.01, 5e-4),  # half of the angles; w changes with their squares
    "gait_clock": 0.1,  # of a sine and a cosine
    "modulators": 0.05,
    "last_action": 0.05,
    "velocity_command": 0.02,  # without noise; no gait follows less
}


def term_resolution(contract: Contract) -> Array:
    """Return the deviation of every number of an observation that means nothing, shape (O,).

    Raises:
        ContractError: A term is unknown.
    """
    resolution = np.empty(term_slices(contract)[-1].stop)
    for term, where in zip(contract.observation, term_slices(contract), strict=True):
        each = np.broadcast_to(RESOLUTION[term.name], TERMS[term.name][0])
        resolution[where] = np.tile(each, term.history) * abs(term.scale)
    return resolution


def _check_terms(contract: Contract) -> None:
    """Refuse terms that need a part of the contract which is null."""
    needs = {
        "velocity_command": ("velocity_command", contract.velocity_command),
        "modulators": ("action.modulation", contract.action.modulation),
    }
    for term in contract.observation:
        field, value = needs.get(term.name, ("", contract))
        if value is None:
            raise ContractError(f"the term {term.name!r} needs contract.{field}, which is null")


def _kind_of(term: ObservationTerm) -> tuple[int, _Read]:
    kind = TERMS.get(term.name)
    if kind is None:
        near = difflib.get_close_matches(term.name, TERMS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ContractError(
            f"unknown observation term {term.name!r}, this pipeline knows {sorted(TERMS)}{hint}"
        )
    if term.history < 1:
        raise ContractError(f"observation term {term.name!r} has history {term.history}, needs 1+")
    return kind
