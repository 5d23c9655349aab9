"""A link whose far end is the firmware that boards run, in lockstep on a clock of its own."""

from __future__ import annotations

import numpy as np
import pytest

from robot_firmware_bridge.errors import LinkLostError
from robot_firmware_bridge.firmware.library import FirmwareBoard, Sensors
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.protocol.session import Session
from robot_firmware_bridge.protocol.wire import Command, Decoder, Request, encode
from robot_firmware_bridge.serial.robot import SerialRobot

MS = 1_000_000
COMMAND = MotorCommand(np.full(8, 2.1), 1.0, 0.015, 80 * MS)


class Bench:
    """A link whose far end is the firmware; a millisecond passes in ``run`` and ``wait``.

    Attributes:
        messages: Messages that reached the board, in order.
        drop: Called with every message on its way to the board; true loses it.
        rewrite: What becomes of the bytes that the board sends.
        clock_rate: Pace of the board's clock, beside its ticks.
        held_ms: The line passes the board's bytes on only this often.
    """

    def __init__(self):
        self.session = Session()
        self.sensors = Sensors()
        self.sensors.motor_position_rad[:] = 2.0
        self.sensors.battery_v = 16.0
        self.messages = []
        self.drop = lambda message: False
        self.rewrite = lambda data: data
        self.is_cut = self.is_closed = False
        self.clock_rate, self.held_ms, self._held = 1.0, 1, b""
        self.drive = None
        self._now_ns = 0
        self._board = FirmwareBoard()
        self.boot(7)

    def __str__(self):
        return "bench"

    def boot(self, count):
        """Switch the board on, or reset it."""
        self._board.start(count)
        self._board_us = 0.0

    def now_ns(self):
        return self._now_ns

    def why_late(self):
        return "the bench holds bytes back"

    def send(self, data):
        self._check()
        for message in Decoder().feed(data):
            if not self.drop(message):
                self.messages.append(message)
                self._board.receive(encode(message))

    def poll(self):
        self._check()

    def wait(self, condition, timeout_s):
        end_ns = self._now_ns + timeout_s * 1e9
        while not condition() and self._now_ns < end_ns:
            self.run(1)
            self._check()
        return condition()

    def close(self):
        self.is_closed = True

    def run(self, ms):
        for _ in range(ms):
            self._now_ns += MS
            self.sensors.rpy_rad[0] = 1e-3 * (self._now_ns // MS % 7)  # an IMU that lives
            self._board_us += 1000 * self.clock_rate
            self.drive = self._board.tick(int(self._board_us), self.sensors)
            self._held += self.rewrite(self._board.transmit())
            if self._now_ns // MS % self.held_ms == 0:
                self.session.receive(self._held, self._now_ns)
                self._held = b""
            due = self.session.due(self._now_ns)
            if due and not self.is_cut:
                self.send(due)

    def cut(self):
        self.is_cut, self.rewrite = True, lambda data: b""

    def mend(self):
        self.is_cut, self.rewrite = False, lambda data: data
        self.session.reconnected()

    def received(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    def _check(self):
        if self.is_cut:
            raise LinkLostError("the bench is cut")

    def walk(self, robot, ticks):
        """Command the robot every 6 ms."""
        for _ in range(ticks):
            robot.write(COMMAND)
            self.run(6)

    def gets_no_command_of(self, robot):
        """Command the robot; return whether no command came to the board."""
        count = len(self.received(Command))
        self.walk(robot, 3)
        return len(self.received(Command)) == count

    def lose(self, action, times=10**6):
        """Lose the next requests of an action on their way to the board: so many, or all."""
        left = [times]

        def drop(message):
            if not isinstance(message, Request) or message.action != action:
                return False
            left[0] -= 1
            return left[0] >= 0

        self.drop = drop


@pytest.fixture
def command():
    """What a walking robot is sent."""
    return COMMAND


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def robot(bench):
    return SerialRobot(bench)


@pytest.fixture
def walking(robot, bench):
    """A robot that has been commanded for a while."""
    robot.activate()
    bench.walk(robot, 5)
    assert robot.read().mode is Mode.ACTIVE
    return robot
