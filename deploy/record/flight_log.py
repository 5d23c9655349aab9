"""The flight log: every tick of a run in rows allocated before it, one ``.npz`` file after it.

Numbers that the control law was computed from are kept at the precision it had, so that a log can
be replayed through the pipeline bit for bit. What a tick did not compute is NaN.

This log is in memory until the run is over. ``deploy.record.black_box`` writes the same rows to a
file while it lasts.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.files import write_atomically
from deploy.loop.modes import LoopMode
from deploy.loop.reactions import ReactionEvent
from deploy.policy.contract import Contract
from deploy.policy.pipeline import Pipeline
from deploy.record.tick_row import TickRow
from deploy.steering import STAND
from robot_firmware_bridge import json_values
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.robot import RobotDescription


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
        controller_target_rad: Motor targets of the command before the robot's own limits, shape
            (T, 8).
        robot_mode: ``Mode`` that the motor controller reported, shape (T,), int8.
        robot_fault: ``Fault`` flags that it reported, shape (T,), uint32.
        policy: Index into ``contracts`` of the policy that ran in the tick, shape (T,), int32;
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
    controller_target_rad: NDArray[np.float64]
    robot_mode: NDArray[np.int8]
    robot_fault: NDArray[np.uint32]
    policy: NDArray[np.int32]
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
        # Into the file as it is compressed: an hour of it would fill the memory.
        write_atomically(path, lambda file: np.savez_compressed(file, **fields))

    @staticmethod
    def load(path: Path) -> FlightLog:
        """Read what :meth:`save` wrote; what an older version did not log is NaN or 0.

        Of older logs nobody knows whether the run was a dry one; they are taken for none.
        """
        with open(path, "rb") as opened, np.load(opened) as file:
            fields: dict[str, Any] = {name: file[name] for name in file.files}
        contract = Contract.from_json(str(fields.pop("contract")))
        also = tuple(Contract.from_json(str(text)) for text in fields.pop("also", ()))
        robot = RobotDescription.from_json(str(fields.pop("robot")))
        period_s = float(fields.pop("period_s"))
        dry_run = bool(fields.pop("dry_run", False))
        events = json_values.parse(str(fields.pop("events", "[]")), "events")
        if "policy" not in fields:  # there was but one
            ran = np.isin(fields["mode"], (LoopMode.RUN, LoopMode.FINISH))
            fields["policy"] = np.where(ran, 0, STAND).astype(np.int32)
        row = TickRow.of(fields["observation"].shape[1], fields["action"].shape[1])
        blank = log_of(row, row.rows(len(fields["mode"])), contract, robot, period_s)
        return FlightLog(
            contract,
            robot,
            period_s,
            also=also,
            events=json_values.decode(tuple[ReactionEvent, ...], events, "events"),
            dry_run=dry_run,
            **(blank.arrays() | fields),
        )


def row_of(contracts: Sequence[Contract], robot: RobotDescription) -> TickRow:
    """Return the layout of a run's ticks: with room for the largest of its policies."""
    observation_size = max(Pipeline(each, robot).observation_size for each in contracts)
    return TickRow.of(observation_size, max(each.action.size for each in contracts))


def log_of(
    row: TickRow,
    rows: NDArray[np.uint8],
    contract: Contract,
    robot: RobotDescription,
    period_s: float,
    also: tuple[Contract, ...] = (),
) -> FlightLog:
    """Return a flight log whose arrays are views of rows, shape (T, bytes)."""
    columns: dict[str, Any] = dict(row.columns(rows))
    del columns["tick"]
    return FlightLog(contract, robot, period_s, also=also, **columns)


class Recorder:
    """Fills a flight log row by row without allocating; keeps the newest ticks.

    Args:
        contracts: Those of the policies, the first one first.
        robot: The robot.
        period_s: Control period.
        kept_s: Time for which ticks are kept.
        on_tick: Gets the row of each tick, shape (bytes,), uint8, laid out by ``TickRow``, which it
            must not keep. It must return at once.
    """

    def __init__(
        self,
        contracts: Sequence[Contract],
        robot: RobotDescription,
        period_s: float,
        kept_s: float,
        on_tick: Callable[[NDArray[np.uint8]], None] | None = None,
    ) -> None:
        # Ticks are a period apart or more; each of the modes may round up by one.
        self._capacity = math.ceil(kept_s / period_s) + len(LoopMode)
        self._row = row_of(contracts, robot)
        self._rows = self._row.rows(self._capacity)
        self._tick = self._row.columns(self._rows)["tick"]
        first, *also = contracts
        self._log = log_of(self._row, self._rows, first, robot, period_s, tuple(also))
        self._on_tick = on_tick
        self._ticks = self._at = 0

    def __len__(self) -> int:
        """Return how many ticks there were, kept or not."""
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
        log, i = self._log, self._at
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
        command: MotorCommand,
        sent: MotorCommand,
        base_position_m: NDArray[np.float64] | None,
    ) -> None:
        """Complete the tick under way, hand its row on, and go on to the next.

        Args:
            mode: Mode of the tick.
            deadline_ns: When it was due.
            woke_ns: When it began.
            compute_ns: From then to the command's being sent.
            state: What was read.
            command: What the controller asked of the robot.
            sent: What the robot made of that.
            base_position_m: Position of the body, shape (3,); None where it is not known.
        """
        log, i = self._log, self._at
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
        log.controller_target_rad[i] = command.target_rad
        log.robot_mode[i] = state.mode
        log.robot_fault[i] = state.fault
        log.target_rad[i] = sent.target_rad
        log.kp[i] = sent.kp
        log.kd[i] = sent.kd
        if base_position_m is not None:
            log.base_position_m[i] = base_position_m
        self._tick[i] = self._ticks
        if self._on_tick is not None:
            self._on_tick(self._rows[i])
        self._ticks += 1
        self._at = self._ticks % self._capacity
        if self._ticks >= self._capacity:
            self._rows[self._at] = self._row.blank

    def log(self) -> FlightLog:
        """Return the ticks that are kept, oldest first: a copy."""
        whole = self._log
        rows = self._rows[: self._ticks]
        if self._ticks >= self._capacity:
            # The row at hand was cleared for the next tick.
            rows = np.concatenate((self._rows[self._at + 1 :], self._rows[: self._at]))
        log = log_of(self._row, rows, whole.contract, whole.robot, whole.period_s)
        copies: dict[str, Any] = {name: np.array(values) for name, values in log.arrays().items()}
        return FlightLog(whole.contract, whole.robot, whole.period_s, also=whole.also, **copies)
