"""A run in numbers: one JSON object per run, computed from the flight log alone.

Everything is about RUN, the policy's own time; standing up and damping do not dilute it. Of a run
of several policies it is about all of it from the first RUN to the last one, stands included.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.files import write_atomically
from deploy.loop.loop import RunFault
from deploy.record.black_box import BlackBoxReport
from deploy.record.clearance import Clearance, clearance
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import Tracking, heading_speed_mps, stride_ticks, tracking, window_s
from deploy.record.thermal import bearable_s, heat_of_torque_w
from deploy.record.would_send import WouldSend, would_send


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Distribution of a duration, in us."""

    p50: float
    p99: float
    max: float

    @staticmethod
    def of_ns(values_ns: NDArray[np.integer[Any]]) -> Percentiles | None:
        """Return the percentiles of durations in ns; None if there are none."""
        if len(values_ns) == 0:
            return None
        p50, p99 = np.percentile(values_ns, (50, 99)) / 1e3
        return Percentiles(float(p50), float(p99), float(values_ns.max()) / 1e3)


@dataclass(frozen=True, slots=True)
class LinkReport:
    """How the serial line to a motor controller did, from opening it to the end of the run.

    The counters are those of ``robot_firmware_bridge.protocol.session``, which explains them;
    ``states`` are the states and answers received. ``round_trip_us`` is the time from sending a
    command to the first state that echoes it, ``arrival_gap_us`` the time between two arrivals of
    new states since arming began; None without. ``low_latency`` says whether the driver of the port
    passes bytes on at once; many drivers do and cannot be asked to. ``states_late`` came again, or
    after a newer one. ``states_implausible`` were whole, and could not follow the one before. None
    is what a board does not count.
    """

    port: str
    baud: int
    states: int
    states_lost: int
    commands_lost: int | None
    crc_errors: int
    framing_errors: int
    board_bad_frames: int | None
    reconnects: int
    board_resets: int
    round_trip_us: Percentiles | None
    arrival_gap_us: Percentiles | None
    low_latency: bool
    states_late: int
    states_implausible: int = 0

    def describe(self) -> str:
        """Return one line for people."""
        damaged = self.crc_errors + self.framing_errors + (self.board_bad_frames or 0)
        commands = "" if self.commands_lost is None else f" and {self.commands_lost} commands"
        parts = [
            f"{self.baud} baud",
            f"lost {self.states_lost} of {self.states + self.states_lost} states{commands}",
            f"{damaged} damaged frames",
        ]
        if self.states_implausible:
            parts.append(f"{self.states_implausible} implausible states")
        if self.states_late:
            parts.append(f"{self.states_late} late or repeated states")
        if self.reconnects or self.board_resets:
            parts.append(f"{self.reconnects} reconnects, {self.board_resets} board resets")
        if self.round_trip_us is not None:
            trip = self.round_trip_us
            parts.append(
                f"round trip p50 {trip.p50 / 1e3:.1f}, p99 {trip.p99 / 1e3:.1f}, "
                f"max {trip.max / 1e3:.1f} ms"
            )
        if self.arrival_gap_us is not None:
            gap = self.arrival_gap_us
            parts.append(
                f"a state every p50 {gap.p50 / 1e3:.1f}, p99 {gap.p99 / 1e3:.1f}, "
                f"max {gap.max / 1e3:.1f} ms"
            )
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Reaction:
    """A signal of ``deploy.loop.reactions`` that changed its level, and when.

    ``t_s`` counts from when the policy took over, as the flight log does; without a RUN, from the
    first tick.
    """

    t_s: float
    signal: str
    level: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """The report of a run, field for field its JSON.

    Attributes:
        speed_mps: ``distance_m / seconds``; None without odometry or without a RUN.
        distance_m: Net displacement along the start heading; None without odometry.
        seconds: Time that the policy ran.
        mean_power_w: Mean of ``sum_i |torque_i * speed_i|`` over the ticks; None without a RUN.
        fell: The tilt limit ended the run.
        faults: Names of the faults that ended the run; empty for a good one.
        ticks: Ticks run.
        overruns: Ticks skipped because their deadline had passed.
        period_s: Control period of the run.
        jitter_us: Wake-up after the deadline.
        compute_us: From the wake-up to the command's being sent, robot I/O included.
        policy: Policy file.
        robot: Kind of robot.
        fault_details: One line per fault.
        interrupted: A stop was requested before the time was up.
        saturations: Ticks in which something was saturated, by kind.
        setup: How the run was set up: whatever explains its figures.
        link: How the serial line did; None where there is none.
        speed_error_mps: Mean error of the forward speed against the command, stride by stride;
            see ``deploy.record.metrics``. None without odometry, or if a policy that takes no
            command ran. A stand between two policies counts as a command of zero.
        yaw_rate_error_rad_s: The same of the yaw rate, by the IMU's own heading.
        heading_speed_mps: Mean speed along the body's own heading; None without odometry.
        bearable_s: How long motors that start cold bear what they did, by the model of
            ``deploy.record.thermal``, at most an hour; None without a RUN.
        toe_clearance_m: How far a toe was lifted in a stride, see ``deploy.record.clearance``, in
            the longest stretch of RUN; None without a stride, or if several policies ran.
        body_clearance_m: Height of the body above the lowest toe, its 5th percentile; likewise.
        reactions: What was done about trouble before it was a stop: every change of a level.
        would_send: The worst of the commands that a dry run did not send; None for another run, or
            for a run without a command.
        black_box: What became of the log that is written while the run lasts; None without one.
    """

    speed_mps: float | None
    distance_m: float | None
    seconds: float
    mean_power_w: float | None
    fell: bool
    faults: tuple[str, ...]
    ticks: int
    overruns: int
    period_s: float
    jitter_us: Percentiles | None
    compute_us: Percentiles | None
    policy: str
    robot: str
    fault_details: tuple[str, ...] = ()
    interrupted: bool = False
    saturations: dict[str, int] = field(default_factory=dict)
    setup: dict[str, Any] = field(default_factory=dict)
    link: LinkReport | None = None
    speed_error_mps: float | None = None
    yaw_rate_error_rad_s: float | None = None
    heading_speed_mps: float | None = None
    bearable_s: float | None = None
    toe_clearance_m: float | None = None
    body_clearance_m: float | None = None
    reactions: tuple[Reaction, ...] = ()
    would_send: WouldSend | None = None
    black_box: BlackBoxReport | None = None

    @property
    def ok(self) -> bool:
        """The robot neither fell nor was stopped by a fault."""
        return not self.faults

    def to_json(self) -> str:
        """Return JSON text; absent figures are null, never NaN."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)

    def save(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        write_atomically(path, f"{self.to_json()}\n".encode())


def summarise(
    log: FlightLog,
    faults: Sequence[RunFault],
    *,
    policy: str,
    robot: str,
    interrupted: bool = False,
    saturations: dict[str, int] | None = None,
    setup: dict[str, Any] | None = None,
    link: LinkReport | None = None,
    black_box: BlackBoxReport | None = None,
) -> RunReport:
    """Compute a report from a flight log and what is known about the run."""
    run = log.run
    # RUN lasts until the tick that ended it, where there was one.
    end = min(run.stop, len(log) - 1)
    seconds = float(log.deadline_ns[end] - log.deadline_ns[run.start]) / 1e9 if len(log) else 0.0
    ran = run.stop > run.start and seconds > 0.0
    distance = float(log.base_position_m[end, 0] - log.base_position_m[run.start, 0]) if ran else 0
    power = np.abs(log.motor_torque_nm[run] * log.motor_velocity_rad_s[run]).sum(axis=1)
    known = ran and bool(np.isfinite(distance))
    steered = _steered(log, run.start, end) if ran else None
    off = _clearance(log) if ran else None
    names = tuple(fault.name for fault in faults)
    return RunReport(
        speed_mps=distance / seconds if known else None,
        distance_m=distance if known else None,
        seconds=seconds,
        mean_power_w=float(power.mean()) if ran else None,
        fell="tilt" in names,
        faults=names,
        ticks=run.stop - run.start,
        overruns=int(log.missed[run].sum()),
        period_s=log.period_s,
        jitter_us=Percentiles.of_ns(log.woke_ns[run] - log.deadline_ns[run]),
        compute_us=Percentiles.of_ns(log.compute_ns[run]),
        policy=policy,
        robot=robot,
        fault_details=tuple(fault.detail for fault in faults),
        interrupted=interrupted,
        saturations=saturations or {},
        setup=setup or {},
        link=link,
        black_box=black_box,
        speed_error_mps=None if steered is None else steered.speed_error_mps,
        yaw_rate_error_rad_s=None if steered is None else steered.yaw_rate_error_rad_s,
        heading_speed_mps=_heading_speed(log, run.start, end) if ran else None,
        bearable_s=bearable_s(heat_of_torque_w(log.motor_torque_nm[run])) if ran else None,
        toe_clearance_m=None if off is None else off.toe_m,
        body_clearance_m=None if off is None else off.body_m,
        reactions=_reactions(log),
        would_send=would_send(log) if log.dry_run else None,
    )


def _reactions(log: FlightLog) -> tuple[Reaction, ...]:
    zero_ns = int(log.woke_ns[log.run.start]) if len(log) else 0
    return tuple(
        Reaction((event.t_ns - zero_ns) / 1e9, event.signal, event.level, event.detail)
        for event in log.events
    )


def _clearance(log: FlightLog) -> Clearance | None:
    if len(log.worked) != 1:
        return None
    ticks, run = stride_ticks(log.worked[0].action.gait, log.period_s), log.longest_run
    return clearance(log.motor_position_rad[run], log.rpy_rad[run], ticks)


def _heading_speed(log: FlightLog, start: int, end: int) -> float | None:
    ticks = slice(start, end + 1)
    return heading_speed_mps(
        log.deadline_ns[ticks] / 1e9, log.base_position_m[ticks, :2], log.heading_rad[ticks]
    )


def _steered(log: FlightLog, start: int, end: int) -> Tracking | None:
    """Return the errors against the velocity command between two ticks; None without one."""
    if any(contract.velocity_command is None for contract in log.worked):
        return None
    ticks = slice(start, end + 1)
    return tracking(
        log.deadline_ns[ticks] / 1e9,
        log.base_position_m[ticks, :2],
        log.heading_rad[ticks],
        np.nan_to_num(log.velocity_command[start:end]),
        max(window_s(contract.action) for contract in log.worked),
    )
