"""The compiled core with healthy sensors and a host, in time that a test advances."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.firmware.library import Drive, FirmwareBoard, Sensors, build_library
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result


class Bench:
    """A board on a bench. Every tick is followed by a state: the line is a fast one.

    Its microsecond clock, ``t_us``, advances by ``us_per_tick``, which a test may break.
    """

    def __init__(self, library: Path) -> None:
        self.board = FirmwareBoard(library)
        self.sensors = Sensors()
        self.drive: Drive | None = None
        self.state: wire.State | None = None
        self.reply: wire.Reply | None = None
        self.identity: wire.Identity | None = None
        self.imu_lives = True
        self.sequence = 0
        self.t_us = self.ticks = 0
        self.us_per_tick = 1000
        self.power_on()

    def power_on(self, boot_count: int = 1, baud: int = 2_000_000) -> None:
        self.board.start(boot_count, baud)
        self.decoder = wire.Decoder()
        self.sensors.motor_position_rad[:] = 2.0
        self.sensors.motor_velocity_rad_s[:] = 0.0
        self.sensors.rpy_rad[:] = 0.1
        self.sensors.angular_rate_rad_s[:] = 0.0
        self.sensors.housing_temperature_c[:] = np.nan
        self.sensors.battery_v = 16.0

    def tick(self, ticks: int = 1) -> Drive:
        for _ in range(ticks):
            self.t_us += self.us_per_tick
            self.ticks += 1
            if self.imu_lives:
                self.sensors.rpy_rad[0] = 0.1 + self.ticks % 2 * 1e-3
            self.drive = self.board.tick(self.t_us, self.sensors)
            self.take()
        return self.drive

    def take(self) -> list[wire.Message]:
        messages = self.decoder.feed(self.board.transmit())
        for message in messages:
            match message:
                case wire.State():
                    self.state = message
                case wire.Reply():
                    self.reply = message
                case wire.Identity():
                    self.identity = message
        return messages

    def send(self, message: wire.Message) -> None:
        self.board.receive(wire.encode(message))

    def hello(
        self,
        interval_ms: int = 1,
        compensate: int = 0,
        protocol_hash: int = PROTOCOL_HASH,
        robot_hash: int = ROBOT_HASH,
    ) -> wire.Identity:
        self.send(wire.Hello(protocol_hash, robot_hash, interval_ms, compensate))
        self.identity = None
        self.tick()
        return self.identity

    def ask(self, action: int) -> Result:
        self.sequence += 1
        self.reply = None
        self.send(wire.Request(self.sequence, action))
        self.tick()
        assert (self.reply.sequence, self.reply.action) == (self.sequence, action)
        return Result(self.reply.result)

    def command(
        self,
        target: float = 2.1,
        kp: float = 1.0,
        kd: float = 0.0,
        valid_ms: int = 80,
        sequence: int | None = None,
    ) -> None:
        self.sequence += 1
        number = self.sequence if sequence is None else sequence
        self.send(wire.Command(number & 0xFFFF, valid_ms, kp, kd, np.full(8, target)))

    def drive_for(self, ms: int, **command: float) -> Drive:
        """Tick with commands often enough that none runs out."""
        for i in range(ms):
            if i % 50 == 0:
                self.command(**command)
            self.tick()
        return self.drive

    def lead_to(self, mode: Mode) -> None:
        """Introduce a host and bring the board to a mode, without a fault."""
        if mode in (Mode.ACTIVE, Mode.DAMPING):
            self.activate()
        else:
            self.hello()
        if mode in (Mode.READY, Mode.DAMPING):
            self.ask(Action.ARM if mode is Mode.READY else Action.DISARM)
        assert (self.mode, self.fault) == (mode, Fault.NONE)

    def activate(self, **hello: int) -> None:
        self.hello(**hello)
        assert self.ask(Action.ARM) is Result.DONE
        self.command(target=2.0)
        assert self.tick().enabled

    @property
    def mode(self) -> Mode:
        return Mode(self.state.mode)

    @property
    def fault(self) -> Fault:
        return Fault(self.state.fault)


@pytest.fixture(scope="session")
def library() -> Path:
    """The build under test: as users get it, checked for undefined behaviour; see test_checked."""
    return build_library(
        sanitize=os.environ.get("FIRMWARE_SANITIZE", "undefined"),
        coverage="FIRMWARE_COVERAGE" in os.environ,
    )


@pytest.fixture
def bench(library: Path) -> Bench:
    return Bench(library)


@pytest.fixture
def stopped_by(library: Path) -> Callable[[Fault], Bench]:
    """Makes a bench whose board was active and stopped on a fault."""

    def stop(fault: Fault) -> Bench:
        bench = Bench(library)
        bench.activate()
        if fault is Fault.COMMAND_TIMEOUT:
            bench.tick(80)
        elif fault is Fault.EMERGENCY_STOP:
            bench.ask(Action.EMERGENCY_STOP)
        elif fault is Fault.ENCODER:
            bench.sensors.motor_position_rad[3] = np.nan
            bench.tick()
            bench.sensors.motor_position_rad[3] = 2.0
            bench.tick(2)
        assert bench.fault is fault
        return bench

    return stop
