"""The flight log: every tick of a run in arrays allocated before it, one ``.npz`` file after it.

Numbers that the control law was computed from are kept at the precision it had, so that a log can
be replayed through the pipeline bit for bit. What a tick did not compute is NaN.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.files import write_atomically
from deploy.loop.modes import LoopMode
from deploy.loop.reactions import ReactionEvent
from deploy.policy.contract import Contract
from deploy.policy.velocity_command import VELOCITY_SIZE
from deploy.steering import STAND
from robot_firmware_bridge import json_values
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.robot import NUM_MOTORS, RobotDescription


@dataclass(frozen=True, slots=True)
class FlightLog:
    """What was recorded; row ``i`` of every array is tick ``i``. Times on the loop's clock.

    Attributes:
        deadline_ns: When the tick was due, shape (T,), int64.
        woke_ns: When it began, shape (T,), int64.
        compute_ns: From its beginning to the command's being sent, shape (T,), int64.
        mode: ``LoopMode`` of the tick, shape (T,), int8.
        policy_t_s: Time of the policy, shape (T,); NaN where it did not run.
        state_t_ns: Time stamp of the state, shape (T,), int64.
        motor_position_rad: Measured, shape (T, 8).
        motor_velocity_rad_s: Measured, shape (T, 8).
        motor_torque_nm: As the controller knows it, shape (T, 8).
        winding_temperature_c: As the controller models it, shape (T, 8); NaN where unknown.
        rpy_rad: Roll, pitch, yaw, shape (T, 3).
        angular_rate_rad_s: Body turn rates, shape (T, 3).
        battery_v: Shape (T,).
        observation: Network input, shape (T, O), float32; NaN where there was none. O is the size
            of the run's longest observation; after a shorter one NaN follow. So it is with A.
        action: Network output, shape (T, A), float32; NaN where there was none.
        target_rad: Motor targets as the robot took them, within its own limits, shape (T, 8); of a
            dry run, as they would have been sent.
        kp: Proportional gain, likewise, shape (T,).
        kd: Derivative gain, likewise, shape (T,).
        base_position_m: True position of the body, shape (T, 3); NaN without odometry.
        velocity_command: Forward speed, m/s, and yaw rate, rad/s, that the policy followed, shape
            (T, 2); zero for a policy that takes none, NaN where there was none.
        policy: Index into ``contracts`` of the policy that ran in the tick, shape (T,), int8;
            -1 where none did.
        also: Contracts of the policies beside the first one.
        events: Reactions to trouble, in the order of their times.
        dry_run: The robot got none of the commands, and no motor was armed.
    """

    contract: Contract
    robot: RobotDescription
    period_s: float
    deadline_ns: NDArray[np.int64]
    woke_ns: NDArray[np.int64]
    compute_ns: NDArray[np.int64]
    mode: NDArray[np.int8]
    policy_t_s: NDArray[np.float64]
    state_t_ns: NDArray[np.int64]
    motor_position_rad: NDArray[np.float64]
    motor_velocity_rad_s: NDArray[np.float64]
    motor_torque_nm: NDArray[np.float64]
    winding_temperature_c: NDArray[np.float64]
    rpy_rad: NDArray[np.float64]
    angular_rate_rad_s: NDArray[np.float64]
    battery_v: NDArray[np.float64]
    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    target_rad: NDArray[np.float64]
    kp: NDArray[np.float64]
    kd: NDArray[np.float64]
    base_position_m: NDArray[np.float64]
    velocity_command: NDArray[np.float64]
    policy: NDArray[np.int8]
    also: tuple[Contract, ...] = ()
    events: tuple[ReactionEvent, ...] = ()
    dry_run: bool = False

    def __len__(self) -> int:
        return len(self.mode)

    @property
    def run(self) -> slice:
        """The ticks of RUN, from the first to the last; with switches and stands in between."""
        where = np.flatnonzero(self.mode == LoopMode.RUN)
        return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)

    def stretch(self, tick: int) -> slice:
        """Return the ticks around one, all of its mode, that no tick of another mode parts."""
        other = np.flatnonzero(self.mode != self.mode[tick])
        after = int(np.searchsorted(other, tick))
        first = int(other[after - 1]) + 1 if after else 0
        return slice(first, int(other[after]) if after < len(other) else len(self))

    @property
    def longest_run(self) -> slice:
        """The longest stretch of RUN, without a switch or a stand in it."""
        run, longest = np.flatnonzero(self.mode == LoopMode.RUN), slice(0, 0)
        while len(run):
            stretch = self.stretch(int(run[0]))
            longest = max(longest, stretch, key=lambda ticks: ticks.stop - ticks.start)
            run = run[run >= stretch.stop]
        return longest

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Contracts of all policies of the run, that of the first one first."""
        return (self.contract, *self.also)

    @property
    def steered(self) -> bool:
        """Whether a policy of the run takes a velocity command."""
        return any(contract.velocity_command is not None for contract in self.contracts)

    @property
    def worked(self) -> tuple[Contract, ...]:
        """Contracts of the policies that ran in RUN."""
        return tuple(
            self.contracts[index] for index in np.unique(self.policy[self.run]) if index >= 0
        )

    @property
    def t_s(self) -> NDArray[np.float64]:
        """Time of each tick since the policy took over, or since the first tick, shape (T,)."""
        zero = self.woke_ns[self.run.start] if len(self) else 0
        seconds: NDArray[np.float64] = (self.woke_ns - zero) / 1e9
        return seconds

    @property
    def heading_rad(self) -> NDArray[np.float64]:
        """Heading in the frame of the positions, whose x axis is the first heading, shape (T,).

        The yaw of an IMU counts from wherever it was switched on.
        """
        heading: NDArray[np.float64] = self.rpy_rad[:, 2] - self.rpy_rad[:1, 2]
        return heading

    @property
    def missed(self) -> NDArray[np.int64]:
        """Ticks that were skipped after each tick, shape (T - 1,)."""
        gaps: NDArray[np.int64] = np.diff(self.deadline_ns) // round(self.period_s * 1e9) - 1
        return gaps

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by its field name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        fields: dict[str, Any] = {
            "contract": self.contract.to_json(),
            "also": np.array([contract.to_json() for contract in self.also], np.str_),
            "robot": self.robot.to_json(),
            "period_s": self.period_s,
            "dry_run": self.dry_run,
            "events": json.dumps([dataclasses.asdict(event) for event in self.events]),
            **self.arrays(),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **fields)
        write_atomically(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> FlightLog:
        """Read what :meth:`save` wrote; older logs name no policy, as there was but one.

        Of older logs nobody knows whether the run was a dry one; they are taken for none.
        """
        with np.load(path) as file:
            fields: dict[str, Any] = {name: file[name] for name in file.files}
        if "policy" not in fields:
            ran = np.isin(fields["mode"], (LoopMode.RUN, LoopMode.FINISH))
            fields |= {"policy": np.where(ran, 0, STAND).astype(np.int8), "also": ()}
        fields["contract"] = Contract.from_json(str(fields["contract"]))
        fields["also"] = tuple(Contract.from_json(str(text)) for text in fields["also"])
        fields["robot"] = RobotDescription.from_json(str(fields["robot"]))
        fields["period_s"] = float(fields["period_s"])
        fields["dry_run"] = bool(fields.get("dry_run", False))
        events = json_values.parse(str(fields.pop("events", "[]")), "events")
        fields["events"] = json_values.decode(tuple[ReactionEvent, ...], events, "events")
        return FlightLog(**fields)


class Recorder:
    """Fills a flight log row by row without allocating; the run takes ``longest_s`` at most."""

    def __init__(
        self,
        contracts: Sequence[Contract],
        robot: RobotDescription,
        observation_size: int,
        period_s: float,
        longest_s: float,
    ) -> None:
        # Ticks are a period apart or more; each of the modes may round up by one.
        capacity = math.ceil(longest_s / period_s) + len(LoopMode)

        def wide(width: int) -> NDArray[np.float64]:
            return np.full((capacity, width), np.nan)

        action_size = max(contract.action.size for contract in contracts)
        self._log = FlightLog(
            contract=contracts[0],
            also=tuple(contracts[1:]),
            robot=robot,
            period_s=period_s,
            deadline_ns=np.zeros(capacity, np.int64),
            woke_ns=np.zeros(capacity, np.int64),
            compute_ns=np.zeros(capacity, np.int64),
            mode=np.zeros(capacity, np.int8),
            policy_t_s=np.full(capacity, np.nan),
            state_t_ns=np.zeros(capacity, np.int64),
            motor_position_rad=wide(NUM_MOTORS),
            motor_velocity_rad_s=wide(NUM_MOTORS),
            motor_torque_nm=wide(NUM_MOTORS),
            winding_temperature_c=wide(NUM_MOTORS),
            rpy_rad=wide(3),
            angular_rate_rad_s=wide(3),
            battery_v=np.full(capacity, np.nan),
            observation=np.full((capacity, observation_size), np.nan, np.float32),
            action=np.full((capacity, action_size), np.nan, np.float32),
            target_rad=wide(NUM_MOTORS),
            kp=np.full(capacity, np.nan),
            kd=np.full(capacity, np.nan),
            base_position_m=wide(3),
            velocity_command=wide(VELOCITY_SIZE),
            policy=np.full(capacity, STAND, np.int8),
        )
        self._ticks = 0

    def __len__(self) -> int:
        return self._ticks

    def record_policy(
        self,
        policy: int,
        t_s: float,
        velocity_command: NDArray[np.float64],
        observation: NDArray[np.float32],
        action: NDArray[np.float32],
    ) -> None:
        """Note command, input and output of a policy at its time ``t_s``, for this tick."""
        log, i = self._log, self._ticks
        log.policy[i] = policy
        log.policy_t_s[i] = t_s
        log.velocity_command[i] = velocity_command
        log.observation[i, : len(observation)] = observation
        log.action[i, : len(action)] = action

    def record(
        self,
        mode: LoopMode,
        deadline_ns: int,
        woke_ns: int,
        compute_ns: int,
        state: RobotState,
        sent: MotorCommand,
        base_position_m: NDArray[np.float64] | None,
    ) -> None:
        """Complete the tick under way and go on to the next."""
        log, i = self._log, self._ticks
        log.mode[i] = mode
        log.deadline_ns[i] = deadline_ns
        log.woke_ns[i] = woke_ns
        log.compute_ns[i] = compute_ns
        log.state_t_ns[i] = state.t_ns
        log.motor_position_rad[i] = state.motor_position_rad
        log.motor_velocity_rad_s[i] = state.motor_velocity_rad_s
        log.motor_torque_nm[i] = state.motor_torque_nm
        log.winding_temperature_c[i] = state.winding_temperature_c
        log.rpy_rad[i] = state.rpy_rad
        log.angular_rate_rad_s[i] = state.angular_rate_rad_s
        log.battery_v[i] = state.battery_v
        log.target_rad[i] = sent.target_rad
        log.kp[i] = sent.kp
        log.kd[i] = sent.kd
        if base_position_m is not None:
            log.base_position_m[i] = base_position_m
        self._ticks += 1

    def log(self) -> FlightLog:
        """Return what was recorded so far, without the unused rows."""
        whole = self._log
        used: dict[str, Any] = {
            name: values[: self._ticks] for name, values in whole.arrays().items()
        }
        return FlightLog(whole.contract, whole.robot, whole.period_s, also=whole.also, **used)
