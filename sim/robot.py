"""The simulated robot behind the Robot protocol, and the clock of its plant.

A sibling of the real robot: it keeps the protocol's promises (no torque before arming or after
disarming, commands that expire) on top of a plant, and knows no policy.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import RobotFaultError
from robot_firmware_bridge.interface import Clock
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import CommandLimits, Fault, Mode, MotorCommand, RobotState
from sim.plant.params import TICK_NS
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# Damping between the last command and limp motors.
_DAMP_NS = 250_000_000
_NEVER_NS = 2**63
# The same as of the motor controller's firmware.
_COMMAND_LIMITS = CommandLimits(LIMITS.max_kp, LIMITS.max_kd, LIMITS.max_valid_ms * 1_000_000)

_logger = logging.getLogger(__name__)


class SimClock:
    """The plant's time; nothing else advances the plant.

    Without a wall clock, time passes only in sleeps, and a run is repeatable bit for bit. With one,
    the plant keeps pace with it from the first use on.

    Args:
        wall: A clock to keep pace with; None for as fast as possible.
    """

    def __init__(self, plant: Plant, wall: Clock | None = None) -> None:
        self._plant = plant
        self._wall = wall
        self._origin_ns: int | None = None
        self.on_tick: Callable[[int], None] | None = None

    def now_ns(self) -> int:
        """Return the plant's time or, paced, the wall's since the first use."""
        if self._wall is None:
            return self._plant.t_ns
        return self._wall.now_ns() - self._wall_origin_ns(self._wall)

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Advance the plant to the deadline and, paced, wait until that is due.

        Without a wall clock, the plant goes on to the first whole tick that is not early.
        """
        if self._wall is None:
            self.advance_to_ns(deadline_ns + TICK_NS - 1)
        else:
            self.advance_to_ns(deadline_ns)
            self._wall.sleep_until_ns(self._wall_origin_ns(self._wall) + deadline_ns)

    def catch_up(self) -> None:
        """Advance the plant to the time of the wall clock, if there is one."""
        self.advance_to_ns(self.now_ns())

    def advance_to_ns(self, t_ns: int) -> None:
        """Advance the plant to the last whole tick before a time."""
        for _ in range((t_ns - self._plant.t_ns) // TICK_NS):
            self._plant.advance(1)
            if self.on_tick is not None:
                self.on_tick(self._plant.t_ns)

    def _wall_origin_ns(self, wall: Clock) -> int:
        if self._origin_ns is None:
            self._origin_ns = wall.now_ns() - self._plant.t_ns
        return self._origin_ns


@dataclass(frozen=True, slots=True)
class Frame:
    """A pose of the robot at a time, enough to draw it.

    Attributes:
        t_ns: Plant time.
        position_m: Origin of the body's link in the world, shape (3,).
        quaternion: Orientation (x, y, z, w), shape (4,).
        joint_positions: All joint angles, motors first, shape (16,).
        push_n: Push on the body, shape (3,), world frame; None without.
    """

    t_ns: int
    position_m: Array
    quaternion: Array
    joint_positions: Array
    push_n: Array | None = None


class SimRobot:
    """A simulated Minitaur.

    Args:
        plant: Its body; reset, at the time at which the robot begins to exist.
        trace_hz: Rate at which poses are kept for drawing; 0 for none.

    Attributes:
        description: The robot that the plant was built from.
    """

    def __init__(self, plant: Plant, clock: SimClock, trace_hz: float = 30.0) -> None:
        self.description = plant.robot
        self._plant = plant
        self._clock = clock
        self._mode = Mode.DISARMED
        self._fault = Fault.NONE
        self._expires_ns = _NEVER_NS
        self._trace_step_ns = round(1e9 / trace_hz) if trace_hz else _NEVER_NS
        self._next_frame_ns = plant.t_ns if trace_hz else _NEVER_NS
        self._trace: list[Frame] = []
        clock.on_tick = self._on_tick
        self._release()

    @property
    def command_limits(self) -> CommandLimits:
        """What the motor controller of a real robot cuts a command to."""
        return _COMMAND_LIMITS

    @property
    def trace(self) -> tuple[Frame, ...]:
        """Poses so far, for ``sim.view.video``."""
        return tuple(self._trace)

    def activate(self) -> None:
        """Arm; nothing moves until the first write.

        Raises:
            RobotFaultError: It stopped on a fault before.
        """
        if self._fault is not Fault.NONE:
            raise RobotFaultError(f"the simulated robot is stopped by {self._fault!r}; reset it")
        self._mode = Mode.READY

    def read(self) -> RobotState:
        """Return the plant's sensors now, with this robot's own mode and faults."""
        self._clock.catch_up()
        sensed = self._plant.sense()
        return dataclasses.replace(sensed, mode=self._mode, fault=sensed.fault | self._fault)

    def write(self, command: MotorCommand) -> MotorCommand:
        """Command the motors for as long as the command is valid.

        A robot that damps or is not armed stays as it is; what it does instead is returned.
        """
        self._clock.catch_up()
        if self._mode in (Mode.READY, Mode.ACTIVE):
            self._mode = Mode.ACTIVE
            self._expires_ns = self._clock.now_ns() + command.valid_for_ns
            self._plant.command(command.target_rad, command.kp, command.kd)
            return command
        kd = self.description.kd if self._mode is Mode.DAMPING else 0.0
        return dataclasses.replace(command, kp=0.0, kd=kd)

    def deactivate(self) -> str:
        """Damp until the legs have come to rest, then hold no torque. Idempotent; never raises."""
        if self._mode is Mode.DISARMED:
            return ""
        try:
            self._damp()
            self._clock.advance_to_ns(self._plant.t_ns + _DAMP_NS)
        except Exception:  # limp motors must come next, whatever broke
            _logger.exception("the plant failed while damping")
        finally:
            self._release()
        return ""

    def close(self) -> None:
        """Deactivate and release the plant. Idempotent; never raises."""
        self.deactivate()
        self._plant.close()

    def base_position_m(self) -> Array:
        """Return the true position of the body's link origin in the world, shape (3,)."""
        return self._plant.base_position_m()

    def _on_tick(self, t_ns: int) -> None:
        """Expire the command and keep the trace, at every tick of the plant."""
        if t_ns >= self._expires_ns:
            self._fault |= Fault.COMMAND_TIMEOUT
            self._damp()
        if t_ns >= self._next_frame_ns:
            self._next_frame_ns += self._trace_step_ns
            truth, joints = self._plant.truth(), self._plant.engine.joint_positions()
            frame = Frame(t_ns, truth.position_m, truth.quaternion, joints, self._plant.push_n)
            self._trace.append(frame)

    def _damp(self) -> None:
        self._mode = Mode.DAMPING
        self._expires_ns = _NEVER_NS
        self._plant.command(self.description.stance_pose_rad, 0.0, self.description.kd)

    def _release(self) -> None:
        self._mode = Mode.DISARMED
        self._expires_ns = _NEVER_NS
        self._plant.command(self.description.stance_pose_rad, 0.0, 0.0)
