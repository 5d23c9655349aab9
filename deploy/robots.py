"""The kinds of robot, and how to open each.

Here, and only here, this floor knows of a simulator: `open_sim` imports it when it is asked for, so
that a robot computer needs none.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.bringup.robot_file import RobotFile, read_robot_file
from deploy.errors import RunError
from deploy.loop.clock import WallClock
from deploy.loop.modes import LoopMode
from deploy.options import Options
from deploy.record.flight_log import FlightLog
from deploy.record.report import LinkReport, Percentiles
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.interface import Clock, Odometry, Robot
from robot_firmware_bridge.protocol.session import Quantiles
from robot_firmware_bridge.serial.link import BAUD, SerialLink, find_port
from robot_firmware_bridge.serial.robot import SerialRobot
from robot_firmware_bridge.serial.stock import COMMAND_LIFE_NS, StockLink, StockRobot
from robot_firmware_bridge.stock import wire as stock_wire
from robot_firmware_bridge.zeroed import ZeroedRobot


@dataclass(frozen=True, slots=True)
class Rig:
    """A robot ready to run, and what goes with its kind.

    Attributes:
        robot: The robot.
        clock: Time that it lives in.
        close: Makes the robot safe and releases all that belongs to it. Idempotent; never raises.
        stand_up_s: Least time for standing up.
        period_s: Control period if the robot's kind imposes one; None for the contract's.
        setup: Facts for the report.
        odometry: Where the robot is; None where nobody knows.
        film: Writes a film of the run to a path, with captions out of the run's flight log; None
            if there is nothing to film.
        link: Counters of the serial link so far, for the report; None without one.
        counters: How the serial line did so far, for the log; None without one.
        cause_of_death: Why the robot went away, if it did; None where nobody can know.
        pose_fault: Why this motor controller cannot start from where the legs are, "" for no
            reason; None where it can start from anywhere.
        board_id: Number of its board, in hex; "" where that does not say who it is.
        robot_file: What the file of this very robot says; None for a run without one.
    """

    robot: Robot
    clock: Clock
    stand_up_s: float
    period_s: float | None
    setup: dict[str, Any]
    close: Callable[[], None]
    odometry: Odometry | None = None
    film: Callable[[Path, FlightLog], None] | None = None
    link: Callable[[], LinkReport] | None = None
    counters: Callable[[], dict[str, int]] | None = None
    cause_of_death: Callable[[], str | None] | None = None
    pose_fault: Callable[[], str] | None = None
    board_id: str = ""
    robot_file: RobotFile | None = None


def open_sim(options: Options, patience_ns: int = COMMAND_LIFE_NS) -> Rig:
    """Open the simulated robot, standing. It is never late, so there is nothing to wait for.

    Raises:
        RunError: The simulator is not installed, or refuses an option.
    """
    try:
        from sim.errors import SimError
        from sim.plant.params import TICK_S
        from sim.plant.params_file import read_plant_file
        from sim.plant.plant import control_ticks
        from sim.plant.randomization import drawn, pushed, randomization_named
        from sim.plant.registry import default_plant, make_plant
        from sim.plant.terrain import on_terrain
        from sim.robot import SimClock, SimRobot
        from sim.view import video
    except ImportError as error:
        raise RunError(f"ROBOT=sim needs {error.name}: pip install '.[sim]'") from error
    try:
        if (film := options.film(Path("run.json"))) is not None:
            video.check(film)
        read = None if options.params is None else read_plant_file(options.params)
        calibrated = None if read is None else read.plant
        found = randomization_named(options.randomization, calibrated)
        params = dataclasses.replace(found.nominal, seed=options.seed)
        if found.ranges:
            params = drawn(options.randomization, options.seed, calibrated)
            # The camera of the film looks along the world's y axis: at a robot from its side.
            params = dataclasses.replace(params, start_heading_rad=0.0)
        params = on_terrain(pushed(params, options.push), options.terrain)
        engine = options.plant or default_plant()
        plant = make_plant(engine, gui=options.gui)
        plant.reset(params)
    except SimError as error:
        raise RunError(str(error)) from error
    clock = SimClock(plant, WallClock() if options.paced else None)
    robot = SimRobot(plant, clock, trace_hz=0.0 if film is None else 25.0)
    return Rig(
        robot,
        clock,
        stand_up_s=0.5,
        period_s=control_ticks(params) * TICK_S if "control_step_s" in found.ranges else None,
        setup={
            "randomization": options.randomization,
            "params": None if read is None else read.facts,
            "engine": engine,
            "terrain": options.terrain,
            "plant": dataclasses.asdict(params),
        },
        close=robot.close,
        odometry=robot,
        film=lambda path, log: video.render(
            robot.trace,
            path,
            ground=params,
            height=options.video_height,
            caption=functools.partial(_caption, log),
        ),
    )


def _caption(log: FlightLog, t_ns: int) -> str:
    """Return what the loop did at a time of its clock: mode, policy's time, velocity command."""
    tick = max(0, int(np.searchsorted(log.woke_ns, t_ns, side="right")) - 1)
    parts = [LoopMode(log.mode[tick]).words]
    if log.run.stop:
        parts.append(f"{(t_ns - log.woke_ns[log.run.start]) / 1e9:5.1f} s")
    speed_mps, yaw_rate_rad_s = log.velocity_command[tick]
    if np.isfinite(speed_mps) and log.contracts[log.policy[tick]].velocity_command is not None:
        parts.append(f"command {speed_mps:+.2f} m/s {yaw_rate_rad_s:+.2f} rad/s")
    return "  ".join(parts)


def open_serial(options: Options, patience_ns: int = COMMAND_LIFE_NS) -> Rig:
    """Open the robot on a serial port: the named one, or the one that answers.

    Each command says itself how long it may act.

    Raises:
        BridgeError: It cannot be reached, is another robot, or its fault cannot be cleared.
    """
    port = options.port or find_port(options.baud or BAUD)
    robot, link = _connect(port, options)
    if options.clear_fault:
        try:
            robot.clear_fault()
        except BridgeError:
            robot.close()
            raise
    return _serial_rig(robot, link, port, options)


def open_minitaur(options: Options, patience_ns: int = COMMAND_LIFE_NS) -> Rig:
    """Open the robot with its own mainboard on the named serial port.

    Raises:
        BridgeError: It cannot be reached, or sends no states.
    """
    return _stock_rig(options.port or "", patience_ns)


def open_emulator(options: Options, patience_ns: int = COMMAND_LIFE_NS) -> Rig:
    """Open the emulated board: a process of its own, over a serial port like any other.

    Raises:
        RunError: It is not installed or does not start.
        BridgeError: It does not answer as a board should.
    """
    try:
        from sim.board.process import StartedBoard
        from sim.board.wiring import Wiring
        from sim.errors import SimError
        from sim.plant.params_file import read_plant_file
        from sim.plant.randomization import randomization_named
        from sim.plant.registry import default_plant
        from sim.plant.terrain import terrain_named
    except ImportError as error:
        raise RunError(f"ROBOT=emulator needs {error.name}: pip install '.[sim]'") from error
    arguments = ["--kind", options.board, "--seed", str(options.seed)]
    if options.baud is not None:
        arguments += ["--baud", str(options.baud)]
    arguments += ["--randomization", options.randomization]
    try:
        # Here as well as in the board, whose own words of a bad file would come through a pipe.
        read = None if options.params is None else read_plant_file(options.params)
        randomization_named(options.randomization, None if read is None else read.plant)
        if options.params is not None:
            arguments.append(f"--params={options.params}")
        engine = options.plant or default_plant()
        terrain_named(options.terrain)
        if options.wiring:
            Wiring.parse(options.wiring)
            arguments += ["--wiring", options.wiring]
        if options.stand is not None:
            arguments += ["--stand", str(options.stand)]
        arguments += ["--plant", engine, "--push", str(options.push), "--terrain", options.terrain]
        board = StartedBoard(arguments)
    except SimError as error:
        raise RunError(str(error)) from error
    facts: dict[str, Any] = {
        "randomization": options.randomization,
        "params": None if read is None else read.facts,
        "engine": engine,
        "push_n": options.push,
        "terrain": options.terrain,
    }
    try:
        if options.stock:
            rig = _stock_rig(board.port, patience_ns, **facts)
        else:
            rig = _serial_rig(*_connect(board.port, options), board.port, options, **facts)
    except BaseException:
        board.close()
        raise

    def close() -> None:
        rig.close()
        board.close()

    return dataclasses.replace(
        rig, close=close, odometry=board.odometry, cause_of_death=board.cause_of_death
    )


def _connect(port: str, options: Options) -> tuple[SerialRobot, SerialLink]:
    link = SerialLink(port, options.baud or BAUD, realtime=True)
    return SerialRobot(link, compensate_battery=options.compensate_battery), link


def _serial_rig(
    robot: SerialRobot, link: SerialLink, port: str, options: Options, **facts: Any
) -> Rig:
    """Return the rig of a robot over a serial line; the report describes its board."""
    board = robot.identity
    facts["board"] = {
        "firmware_id": board.firmware_id.rstrip(b"\0").decode("ascii", "replace"),
        "board_id": board.board_id.hex(),
        "boot_count": board.boot_count,
        "robot_hash": f"{board.robot_hash:016x}",
        "protocol_hash": f"{board.protocol_hash:016x}",
        "state_interval_ms": board.state_interval_ms,
        "compensate_battery": options.compensate_battery,
    }
    return Rig(
        robot,
        WallClock(),  # the link stamps its states by the same clock
        stand_up_s=2.0,
        period_s=None,
        setup=facts,
        close=robot.close,
        link=lambda: _link_report(robot, link, port, options.baud or BAUD),
        counters=lambda: dataclasses.asdict(robot.counters),
        board_id=board.board_id.hex() if any(board.board_id) else "",
    )


def _stock_rig(port: str, patience_ns: int, **facts: Any) -> Rig:
    """Return the rig of a robot with the Minitaur's own mainboard on a serial line."""
    link = StockLink(port)
    robot = StockRobot(link, patience_ns=patience_ns)

    def report() -> LinkReport:
        counters = robot.counters
        return LinkReport(
            port=port,
            baud=stock_wire.BAUD,
            states=counters.states,
            states_lost=counters.lost,
            commands_lost=None,
            crc_errors=0,
            framing_errors=counters.damaged,
            board_bad_frames=None,
            reconnects=counters.reconnects,
            board_resets=counters.board_resets,
            round_trip_us=None,
            arrival_gap_us=None,
            low_latency=link.low_latency,
            states_late=counters.late,
            states_implausible=counters.implausible,
        )

    return Rig(
        robot,
        WallClock(),
        stand_up_s=2.0,
        period_s=None,
        setup=facts,
        close=robot.close,
        link=report,
        pose_fault=robot.pose_fault,
        counters=lambda: dataclasses.asdict(robot.counters),
    )


def _link_report(serial: SerialRobot, link: SerialLink, port: str, baud: int) -> LinkReport:
    counters = serial.counters
    return LinkReport(
        port=port,
        baud=baud,
        states=counters.frames,
        states_lost=counters.states_lost,
        commands_lost=counters.commands_lost,
        crc_errors=counters.crc_errors,
        framing_errors=counters.framing_errors,
        board_bad_frames=counters.board_bad_frames,
        reconnects=counters.reconnects,
        board_resets=counters.board_resets,
        round_trip_us=_percentiles(serial.round_trip),
        arrival_gap_us=_percentiles(serial.arrival_gap),
        low_latency=link.low_latency,
        states_late=counters.states_duplicated,
    )


def _percentiles(times: Quantiles | None) -> Percentiles | None:
    return None if times is None else Percentiles(times.p50_us, times.p99_us, times.max_us)


def open_robot(options: Options, patience_ns: int = COMMAND_LIFE_NS) -> Rig:
    """Open the robot that the options ask for, with the motor zeros of its file.

    Args:
        options: Which robot.
        patience_ns: Time without a command after which the motors of a board that has no command
            timeout of its own are killed.

    Raises:
        RunError: An option or the robot file is wrong, or the file is another robot's.
        BridgeError: The robot cannot be reached, or is another one.
    """
    if options.robot_file is None:
        return ROBOTS[options.robot](options, patience_ns)
    robot = read_robot_file(options.robot_file)
    rig = ROBOTS[options.robot](options, patience_ns)
    try:
        robot.check_board(rig.board_id)
        zeroed = ZeroedRobot(rig.robot, np.array(robot.motor_zeros_rad))
    except (RunError, BridgeError) as error:
        rig.close()
        raise RunError(f"{options.robot_file}: {error}") from error
    facts = {"name": robot.name, "motor_zeros_rad": list(robot.motor_zeros_rad)}
    return dataclasses.replace(
        rig, robot=zeroed, setup={**rig.setup, "robot_file": facts}, robot_file=robot
    )


# How to come by each kind of robot; a new kind is a new line here.
ROBOTS: dict[str, Callable[[Options, int], Rig]] = {
    "sim": open_sim,
    "serial": open_serial,
    "emulator": open_emulator,
    "minitaur": open_minitaur,
}
