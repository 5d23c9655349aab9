"""The plant: a physics engine under motor controllers, drives, sensors, latencies and pushes.

One tick is 1 ms, the rate of the robot's motor controller. Each tick the PD loop sees the motors
as they were ``pd_latency_s`` ago and drives them. The policy sees the robot as it was
``policy_latency_s`` ago through a biased and noisy IMU. Engine, drives and viewer are arguments
(``sim.plant.registry`` puts them together); no engine is imported here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import (
    normalized,
    quaternion_product,
    rpy_from_quaternion,
    turned,
)
from robot_firmware_bridge.messages import Fault, Mode, RobotState
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, RobotDescription
from sim.errors import ParameterError, SimError
from sim.plant.compiled import CompiledTick, EngineTick
from sim.plant.drives import Actuators, in_order
from sim.plant.history import History
from sim.plant.params import TICK_NS, TICK_S, PlantParams
from sim.plant.terrain import ground_turn

Array = NDArray[np.float64]

# Time in which the freshly placed robot takes up its weight before the episode begins.
_SETTLE_TICKS = 100
# Oldest state that any latency may ask for.
_HISTORY_SPAN_S = 0.1
# How far from 1 the length of a quaternion may be that a robot is placed by.
_UNIT_ERROR = 1e-6

# Columns of a history row: motor angles, motor speeds, drive torques, the motion of the body's link
# origin (position, quaternion, velocity, angular velocity), the battery's voltage, and what the
# encoders read, without their offsets.
_POSITION = slice(0, 8)
_VELOCITY = slice(8, 16)
_TORQUE = slice(16, 24)
_BASE = slice(24, 37)
_PLACE, _TURN, _SPEED, _RATE = slice(24, 27), slice(27, 31), slice(31, 34), slice(34, 37)
_BATTERY = 37
_READING = slice(38, 46)
_ROW_WIDTH = 46
# Times a quaternion of length 1: the turn back.
_INVERSE = np.array((-1.0, -1.0, -1.0, 1.0))


def control_ticks(params: PlantParams) -> int:
    """Return the control step in whole ticks of the plant, at least one."""
    return max(1, round(params.control_step_s / TICK_S))


@dataclass(frozen=True)
class BaseTruth:
    """True motion of the body's link origin, world frame: that of the ground, even if it slopes.

    Attributes:
        position_m: Shape (3,).
        quaternion: Orientation (x, y, z, w), shape (4,).
        velocity_m_s: Shape (3,).
        angular_velocity_rad_s: Shape (3,).
    """

    position_m: Array
    quaternion: Array
    velocity_m_s: Array
    angular_velocity_rad_s: Array

    @functools.cached_property
    def rpy_rad(self) -> Array:
        """Roll, pitch and yaw, shape (3,)."""
        return rpy_from_quaternion(self.quaternion)

    @functools.cached_property
    def tilt_rad(self) -> float:
        """Angle between the body's up axis and the vertical; pi for a pose that is NaN."""
        x, y, _, _ = self.quaternion.tolist()
        return math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))

    def seen_from(self, start: BaseTruth) -> BaseTruth:
        """Return the motion in the frame of a start: x along its heading, above its place.

        The frame lies on the floor and does not move. Heights and tilts stay as they are.
        """
        x, y, _ = start.position_m.tolist()
        half = -0.5 * float(start.rpy_rad[2])
        turn = np.array((0.0, 0.0, math.sin(half), math.cos(half)))
        return BaseTruth(
            turned(turn, self.position_m - (x, y, 0.0)),
            quaternion_product(turn, self.quaternion),
            turned(turn, self.velocity_m_s),
            turned(turn, self.angular_velocity_rad_s),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """Something that the robot carries.

    Attributes:
        urdf: Its file, relative to the folder of ``pybullet_data``.
        position_m: Centre of mass in the world, shape (3,).
        quaternion: Orientation (x, y, z, w), shape (4,).
        lost: Whether it has fallen to the floor.
    """

    urdf: str
    position_m: Array
    quaternion: Array
    lost: bool


class Engine(Protocol):
    """A physics engine with the robot standing in it; motor space for all motor vectors.

    Attributes:
        mass_kg: Mass of the whole robot in this episode.
    """

    mass_kg: float

    @property
    def load(self) -> Load | None:
        """What the robot carries now; None if it carries nothing."""

    def reset(self, params: PlantParams) -> None:
        """Build the robot anew in its stance with these parameters."""

    def measure(self, position_rad: Array, velocity_rad_s: Array, base: Array) -> None:
        """Write the present motor angles and speeds, both (8,), and the body's motion (13,).

        That is position, quaternion (x, y, z, w) of length 1, velocity and angular velocity of the
        body's link origin, world frame.
        """

    def place(self, position_rad: Array, velocity_rad_s: Array, origin: Array) -> None:
        """Put the robot into a state of motion, as if nothing had been before; the legs are closed.

        Args:
            position_rad: Motor angles, shape (8,).
            velocity_rad_s: Motor speeds, shape (8,).
            origin: Of the body's link, as ``measure`` writes it, shape (13,).

        Raises:
            SimError: No knees close the legs at these angles.
        """

    def touching_height_m(self, position_rad: Array, quaternion: Array) -> float:
        """Return the height of the body's link origin at which the lowest toe touches the floor.

        The toe, or whatever part of the robot is the lowest; the engine's own state does not count.

        Args:
            position_rad: Motor angles, shape (8,).
            quaternion: Orientation of the body's link (x, y, z, w), shape (4,).

        Raises:
            SimError: No knees close the legs at these angles.
        """

    def step(self, torque_nm: Array, push_n: Array | None) -> None:
        """Advance one tick under motor torques (8,) and a force (3,) on the body, world frame."""

    def compiled(self) -> EngineTick | None:
        """Return ``step`` and ``measure`` in C; None where they cannot be had."""

    def prepare(self) -> None:
        """Do what a compiled step leaves to Python, before the next tick."""

    def joint_positions(self) -> Array:
        """Return the angles of all 16 joints, motors first, for drawing."""

    def close(self) -> None:
        """Release the engine. Idempotent."""


class Viewer(Protocol):
    """Draws a plant."""

    def follow(self, plant: Plant) -> None:
        """Show the plant in a window, if there is one and a new frame is due."""

    def camera(self, plant: Plant, width: int, height: int) -> NDArray[np.uint8]:
        """Return a picture of the plant, shape (height, width, 3)."""

    def close(self) -> None:
        """Release scene and window. Idempotent."""


class Pushes:
    """The pushes on the body in one episode, at regular intervals, by its parameters alone.

    The first push starts one interval after the episode does. Force is uniform between the two
    bounds, direction uniform in the horizontal plane of the world.

    Attributes:
        last_n: Force in the last tick of ``forces_n``, shape (3,); None without one.
    """

    def __init__(self, params: PlantParams) -> None:
        self._params = params
        self._rng = np.random.default_rng((params.seed, 1))
        self._index = 0
        self._force_n = np.zeros(3)
        self.last_n: Array | None = None

    def force_n(self, t_s: float) -> Array | None:
        """Return the force on the body at ``t_s``, shape (3,), world frame; None between pushes.

        Times must not decrease from call to call.
        """
        params = self._params
        if params.push_force_high_n <= 0.0 or t_s < params.push_interval_s:
            return None
        # A thousandth of a tick forgives rounding of t / interval at the very start of a push.
        index = int((t_s + 1e-6) / params.push_interval_s)
        if t_s - index * params.push_interval_s >= params.push_duration_s - 1e-6:
            return None
        while self._index < index:
            self._index += 1
            size = self._rng.uniform(params.push_force_low_n, params.push_force_high_n)
            angle = self._rng.uniform(0.0, 2.0 * math.pi)
            self._force_n = size * np.array((math.cos(angle), math.sin(angle), 0.0))
        return self._force_n

    def forces_n(self, t_ns: int, ticks: int) -> Array | None:
        """Return the forces over some ticks from a time on, shape (ticks, 3), NaN between pushes.

        None where there is no push at all.
        """
        self.last_n = None
        if self._params.push_force_high_n <= 0.0:
            return None
        forces = np.full((ticks, 3), math.nan)
        for tick in range(ticks):
            self.last_n = self.force_n((t_ns + tick * TICK_NS) * 1e-9)
            if self.last_n is not None:
                forces[tick] = self.last_n
        return forces


class Plant:
    """A Minitaur on a floor, driven by its motor controllers.

    The same parameters and the same commands give the same motion bit for bit.

    Args:
        drives: The drives; the real ones if left out.
        viewer: Draws the plant; None for a plant without pictures.
        compiled: Run the ticks in C where that can be. In Python they are the same bit for bit.

    Attributes:
        push_n: Push on the body in the last tick, shape (3,), world frame; None without.
    """

    def __init__(
        self,
        engine: Engine,
        drives: Actuators | None = None,
        viewer: Viewer | None = None,
        robot: RobotDescription = MINITAUR,
        *,
        compiled: bool = True,
    ) -> None:
        self.robot = robot
        self.engine = engine
        self.drives = drives or Actuators(robot)
        self._viewer = viewer
        self._history = History(_ROW_WIDTH, TICK_S, _HISTORY_SPAN_S)
        self._row = np.zeros(_ROW_WIDTH)
        self._compiled: CompiledTick | None = None
        tick = engine.compiled() if compiled and type(self.drives) is Actuators else None
        if tick is not None:
            self._compiled = CompiledTick(tick, self._history)
            self._row = self._compiled.row
            self.drives.keep_in(self._compiled.hot_s, self._compiled.enabled, self._compiled.heat_j)
        self._target = robot.stance_pose_rad
        self._kp, self._kd = robot.kp, robot.kd
        self.params = PlantParams()
        self.reset(self.params)

    def reset(self, params: PlantParams) -> None:
        """Start an episode: the robot stands still in its stance over the world's origin."""
        self.params = params
        self._encoder_offset = np.array(params.encoder_offset_rad)
        self._slack_rad = 0.5 * params.encoder_play_rad
        self._ground_turn = ground_turn(params)
        self.engine.reset(params)
        self._start(-_SETTLE_TICKS * TICK_NS)
        self.command(self.robot.stance_pose_rad, self.robot.kp, self.robot.kd)
        self.advance(_SETTLE_TICKS)
        self.drives.reset(params)
        self.energy_j = 0.0

    def place(self, position_rad: Array, velocity_rad_s: Array, origin: Array) -> None:
        """Start an episode, of the parameters of the last ``reset``, in a state of motion.

        Time is 0, the drives are cool and their bridges open until a command or a duty. What is
        sensed of the time before is the state itself, with motors that turned at their speeds.
        ``touching_height_m`` of the engine tells how high a robot stands on its lowest toe.

        Args:
            position_rad: True motor angles, shape (8,): what the encoders read less their offsets.
            velocity_rad_s: Motor speeds, shape (8,).
            origin: Position, quaternion (x, y, z, w), velocity and angular velocity of the body's
                link origin, world frame, shape (13,).

        Raises:
            ParameterError: A number is not finite, or the quaternion not of length 1.
            SimError: No knees close the legs at these angles, or the robot carries something.
        """
        if self.engine.load is not None:
            raise SimError("a robot that carries something cannot be placed: take another plant")
        state = np.concatenate((position_rad, velocity_rad_s, origin))
        if state.shape != (29,) or not np.isfinite(state).all():
            raise ParameterError("a robot is placed by 8 angles, 8 speeds and 13 finite numbers")
        if abs(float(np.linalg.norm(state[19:23])) - 1.0) > _UNIT_ERROR:
            raise ParameterError(f"quaternion {state[19:23].tolist()} must have length 1")
        self.engine.place(state[:8], state[8:16], state[16:])
        self._start(0)
        now = self._row.copy()
        for ticks in range(math.ceil(self.params.pd_latency_s / TICK_S) + 1, -1, -1):
            self._row[_POSITION] = now[_POSITION] - now[_VELOCITY] * (ticks * TICK_S)
            self._row[_READING] = self._row[_POSITION]
            self._history.append(self._row)
        self.command(self.robot.stance_pose_rad, 0.0, 0.0)

    def _start(self, t_ns: int) -> None:
        """Begin time, randomness and memory with the state in which the engine is."""
        params = self.params
        self.drives.reset(params)
        if self._compiled is not None:
            self._compiled.begin(params, self.drives)
        self._history.clear()
        self._noise = np.random.default_rng((params.seed, 0))
        self._jitter = np.random.default_rng((params.seed, 3))
        self._loss = np.random.default_rng((params.seed, 4))
        self._newest_ns = t_ns - round(_HISTORY_SPAN_S * 1e9)  # of what was sensed
        self._pushes = Pushes(params)
        self.energy_j = 0.0
        self.push_n: Array | None = None
        self.t_ns = t_ns
        self.engine.measure(self._row[_POSITION], self._row[_VELOCITY], self._row[_BASE])
        self._row[_READING] = self._row[_POSITION]
        self._record(np.zeros(NUM_MOTORS))

    def command(self, target_rad: Array, kp: float, kd: float) -> None:
        """Set what the motor controllers do from now on; ``kp = kd = 0`` opens the bridges.

        An open bridge leaves the motor free. A duty of zero would not: it shorts the winding, and
        the back-EMF brakes. A command that is lost changes nothing. One without stiffness is never
        lost, since the motor controller damps or opens the bridges by itself; nor is one before the
        episode begins.
        """
        loss = self.params.command_loss
        may_be_lost = loss > 0.0 and self.t_ns >= 0 and kp != 0.0
        if may_be_lost and self._loss.random() < loss:
            return
        self._target = np.array(target_rad, dtype=np.float64)
        self._kp, self._kd = kp, kd

    def advance(self, ticks: int) -> None:
        """Let ``ticks`` milliseconds pass, and show them to the viewer."""
        if self._compiled is not None:
            compiled, target, kp, kd = self._compiled, self._target, self._kp, self._kd
            self._run(ticks, lambda left, push: compiled.advance(left, target, kp, kd, push))
        else:
            for _ in range(ticks):
                self._tick()
        if self._viewer is not None:
            self._viewer.follow(self)

    def drive(self, duty: Array | None) -> None:
        """Let one millisecond pass under the PWM duties of a motor controller outside the plant.

        That controller protects its motors by itself; here none is switched off.

        Args:
            duty: Shape (8,), each within [-1, 1]; None opens the bridges.
        """
        if self._compiled is not None:
            compiled = self._compiled
            duties = None if duty is None else np.ascontiguousarray(duty, dtype=np.float64)
            self._run(1, lambda _, push: compiled.drive(duties, push))
            return
        if duty is None:
            torque = self.drives.open()
        else:
            speed = self._row[_VELOCITY]
            torque = self.drives.torque(duty, speed, protected=False)
        self._step(torque)

    def _run(self, ticks: int, run: Callable[[int, Array | None], int]) -> None:
        """Let ticks pass in C; ``run`` takes how many are left and their pushes."""
        assert self._compiled is not None
        self._compiled.energy_j = self.energy_j
        pushes = self._pushes.forces_n(self.t_ns, ticks)
        done = 0
        while done < ticks:
            passed = run(ticks - done, None if pushes is None else pushes[done:])
            done += passed
            if done < ticks:
                self.engine.prepare()
        self.t_ns += ticks * TICK_NS
        self.energy_j = self._compiled.energy_j
        self.drives.battery_v = float(self._row[_BATTERY])
        self.push_n = self._pushes.last_n

    def _tick(self) -> None:
        if self._kp == 0.0 == self._kd:
            torque = self.drives.open()
        else:
            seen = self._history.at_age(self.params.pd_latency_s)
            position, velocity, true_velocity = (
                seen[_READING] + self._encoder_offset,
                seen[_VELOCITY],
                self._row[_VELOCITY],
            )
            torque = self.drives.follow(
                self._target, position, velocity, self._kp, self._kd, true_velocity
            )
        self._step(torque)

    def _step(self, torque: Array) -> None:
        row = self._row  # still holds the newest truth
        self.energy_j += TICK_S * in_order(np.abs(torque * row[_VELOCITY]))
        self.push_n = self._pushes.force_n(self.t_ns * 1e-9)
        self.engine.step(torque, self.push_n)
        self.t_ns += TICK_NS
        self._record(torque)

    def _record(self, torque: Array) -> None:
        row = self._row
        self.engine.measure(row[_POSITION], row[_VELOCITY], row[_BASE])
        row[_TORQUE] = torque
        slack_rad, angle_rad = self._slack_rad, row[_POSITION]
        row[_READING] = np.minimum(
            np.maximum(row[_READING], angle_rad - slack_rad), angle_rad + slack_rad
        )
        row[_BATTERY] = self.drives.battery_v
        self._history.append(row)

    def sense(self) -> RobotState:
        """Return the robot as the policy sees it now: delayed, biased and noisy.

        Each call draws fresh sensor noise, so the number of calls is part of an episode. The time
        stamp is the time of the call: the policy cannot know how old its data is.
        """
        age_s, jitter_s = self.params.policy_latency_s, self.params.policy_latency_jitter_s
        if jitter_s > 0.0:
            # What comes late is not taken for news: the youngest state so far stands.
            age_s += jitter_s * self._jitter.random()
            self._newest_ns = max(self._newest_ns, self.t_ns - round(age_s * 1e9))
            age_s = (self.t_ns - self._newest_ns) * 1e-9
        return self._sensed(age_s)

    def controller_view(self, *, held: bool) -> RobotState:
        """Return the robot as the sensors of its motor controller read it; see :meth:`sense`.

        Only the serial line delays what such a controller sends, not ``policy_latency_s``.

        Args:
            held: A stand holds the robot: its speeds are zero.
        """
        return self._sensed(self.params.pd_latency_s, held=held)

    def _sensed(self, age_s: float, *, held: bool = False) -> RobotState:
        params = self.params
        seen = self._history.at_age(age_s)
        turn = normalized(seen[_TURN])
        level = turn if self._ground_turn is None else quaternion_product(self._ground_turn, turn)
        rpy = rpy_from_quaternion(level)
        gyro = turned(turn * _INVERSE, seen[_RATE])
        if held:
            seen[_VELOCITY] = 0.0
            gyro[:] = 0.0
        noise = params.imu_noise_std * self._noise.standard_normal(6)
        rpy += noise[:3]
        rpy[:2] += (params.imu_roll_bias_rad, params.imu_pitch_bias_rad)
        fault = Fault.NONE if self.drives.enabled.all() else Fault.OVERHEAT
        return RobotState(
            t_ns=self.t_ns,
            motor_position_rad=seen[_READING] + self._encoder_offset,
            motor_velocity_rad_s=seen[_VELOCITY],
            motor_torque_nm=seen[_TORQUE],
            rpy_rad=rpy,
            angular_rate_rad_s=gyro + noise[3:],
            battery_v=float(seen[_BATTERY]),
            mode=Mode.ACTIVE,
            fault=fault,
        )

    def truth(self) -> BaseTruth:
        """Return where the body really is, without latency or noise."""
        row = self._row.copy()
        return BaseTruth(row[_PLACE], row[_TURN], row[_SPEED], row[_RATE])

    def base_position_m(self) -> Array:
        """Return the true position of the body's link origin in the world, shape (3,)."""
        return self.truth().position_m

    def motor_truth(self) -> tuple[Array, Array, Array]:
        """Return the true motor angles, speeds and drive torques, each (8,)."""
        row = self._row.copy()
        return row[_POSITION], row[_VELOCITY], row[_TORQUE]

    @property
    def load_lost(self) -> bool:
        """Whether what the robot carries has fallen to the floor."""
        load = self.engine.load
        return load is not None and load.lost

    def camera(self, width: int = 480, height: int = 270) -> NDArray[np.uint8]:
        """Return a picture of the robot, shape (height, width, 3); the motion does not change.

        Raises:
            SimError: The plant was made without a viewer.
        """
        if self._viewer is None:
            raise SimError("this plant has no viewer: make it with sim.plant.registry.make_plant")
        return self._viewer.camera(self, width, height)

    def close(self) -> None:
        """Release the engine and the viewer. Idempotent."""
        self.engine.close()
        if self._viewer is not None:
            self._viewer.close()
