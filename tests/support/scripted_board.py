"""A scripted motor controller behind a real pseudo terminal."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty

import numpy as np
import pytest

from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.wire import (
    Command,
    Decoder,
    Hello,
    Identity,
    Reply,
    Request,
    State,
    encode,
)
from robot_firmware_bridge.robot import MINITAUR

ROBOT_HASH = int(MINITAUR.hash()[:16], 16)
STATE_INTERVAL_S = 0.002
IDENTITY = Identity(
    PROTOCOL_HASH, ROBOT_HASH, 2, 7, b"firmware", b"board", 4.0, 0.1, 1.0, 60.0, 200
)
STATE = State(
    sequence=0,
    boot_count=7,
    time_us=0,
    command_echo=0,
    commands_lost=0,
    bad_frames=0,
    mode=Mode.DISARMED,
    fault=0,
    motor_position_rad=MINITAUR.stance_pose_rad,
    motor_velocity_rad_s=np.zeros(8),
    motor_torque_nm=np.zeros(8),
    rpy_rad=np.zeros(3),
    angular_rate_rad_s=np.zeros(3),
    battery_v=16.0,
    winding_temperature_c=np.full(8, 25.0),
)


class ScriptedBoard:
    """A motor controller behind a real pseudo terminal, in perfect health unless a test changes it.

    Attributes:
        path: Port for hosts; a symbolic link, if one is given, which stays the same over plugging.
        received: Every message received.
        fault: What it reports, until a request clears it.
        mute: It receives, but sends nothing.
    """

    def __init__(
        self, *, protocol_hash=PROTOCOL_HASH, robot_hash=ROBOT_HASH, fault=Fault.NONE, link=None
    ):
        self.protocol_hash, self.robot_hash, self.fault = protocol_hash, robot_hash, fault
        self.received, self.mute = [], False
        self.mode = Mode.DAMPING if fault else Mode.DISARMED
        self._link, self._thread = link, None
        self.plug()

    def plug(self):
        self._board_fd, self._host_fd = os.openpty()
        tty.setraw(self._host_fd)
        self.path = os.ttyname(self._host_fd)
        if self._link is not None:
            self._link.symlink_to(self.path)
            self.path = str(self._link)
        self._decoder = Decoder()
        self._introduced = False
        self._sequence = self._echo = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    @property
    def moved(self):
        """Whether it received anything that could move a robot."""
        return any(
            isinstance(m, Command) or (isinstance(m, Request) and m.action == Action.ARM)
            for m in self.received
        )

    def actions(self):
        return [Action(m.action) for m in self.received if isinstance(m, Request)]

    def close(self):
        """Hang up, and take the port away. Idempotent."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._link is not None:
            self._link.unlink()
        for fd in (self._board_fd, self._host_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _live(self):
        with contextlib.suppress(PermissionError):  # a busy machine must not make it look dead
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(81))
        due_s = time.monotonic()
        while not self._stop.is_set():
            if select.select([self._board_fd], [], [], max(0.0, due_s - time.monotonic()))[0]:
                for message in self._decoder.feed(os.read(self._board_fd, 4096)):
                    self.received.append(message)
                    self._answer(message)
            if time.monotonic() >= due_s:
                due_s += STATE_INTERVAL_S
                if self._introduced:
                    self._send(self._state())

    def _answer(self, message):
        if isinstance(message, Hello):
            self._introduced = message.protocol_hash == self.protocol_hash
            self._introduced &= message.robot_hash == self.robot_hash
            hashes = {"protocol_hash": self.protocol_hash, "robot_hash": self.robot_hash}
            self._send(IDENTITY._replace(**hashes, firmware_id=b"scripted", board_id=b"test bench"))
        elif isinstance(message, Request):
            if message.action == Action.CLEAR_FAULT:
                self.fault, self.mode = Fault.NONE, Mode.DISARMED
            elif message.action == Action.ARM:
                self.mode = Mode.READY
            elif message.action == Action.DISARM:
                self.mode = Mode.DISARMED
            self._send(
                Reply(message.sequence, message.action, Result.DONE, self.mode, self.fault.value)
            )
        elif isinstance(message, Command):
            self._echo = message.sequence
            if self.mode == Mode.READY:
                self.mode = Mode.ACTIVE

    def _state(self):
        self._sequence = (self._sequence + 1) & 0xFFFF
        return STATE._replace(
            sequence=self._sequence,
            time_us=time.monotonic_ns() // 1000 & 0xFFFFFFFF,
            command_echo=self._echo,
            mode=self.mode,
            fault=self.fault.value,
        )

    def _send(self, message):
        # A line that nobody reads fills up; a motor controller does not wait for it.
        if not self.mute and select.select([], [self._board_fd], [], 0.1)[1]:
            os.write(self._board_fd, encode(message))


@pytest.fixture
def board():
    """Makes scripted boards."""
    with contextlib.ExitStack() as stack:

        def build(**options):
            made = ScriptedBoard(**options)
            stack.callback(made.close)
            return made

        yield build
