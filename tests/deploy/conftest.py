"""A contract, ONNX files for it, a scripted robot on a virtual clock, a scripted board on a pty."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import select
import threading
import time
import tty

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import run as command
from deploy import safety
from deploy.clock import VirtualClock
from deploy.contract import METADATA_KEY, ActionSpec, Contract, ObservationTerm
from deploy.gaits import Gait, stance
from deploy.loop import ControlLoop
from deploy.modes import Durations
from deploy.pipeline import Pipeline
from robot_firmware_bridge.messages import Fault, Mode, RobotState
from robot_firmware_bridge.protocol import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.wire import (
    Command,
    Decoder,
    Hello,
    Identity,
    Reply,
    Request,
    State,
    encode,
)

PERIOD_NS = 6_000_000
ROBOT_HASH = int(MINITAUR.hash()[:16], 16)
STATE_INTERVAL_S = 0.002


@pytest.fixture
def contract():
    return Contract(
        observation=(
            ObservationTerm("roll_pitch"),
            ObservationTerm("roll_pitch_rate", scale=0.1, clip=5.0),
        ),
        action=ActionSpec(scale_rad=(0.25,) * 8, lowpass_hz=0.0, gait=stance()),
    )


@pytest.fixture
def gait():
    """A trot of round numbers, about the stance and with swing and extension in step."""
    return Gait(
        name="test",
        frequency_hz=2.0,
        swing_amplitude_rad=0.3,
        extension_amplitude_rad=0.35,
        extension_centre_rad=2.0,
        swing_lead=0.0,
        leg_phase=(0.0, 0.5, 0.5, 0.0),
        ramp_s=0.25,
    )


@pytest.fixture
def write_policy(tmp_path, contract):
    """Writes the policy ``action = bias`` and returns its path."""
    whole = contract.to_json()

    def write(
        name="policy.onnx",
        text=whole,
        size=4,
        outputs=8,
        bias=0.0,
        batch="N",
        input_name="observation",
        element=TensorProto.FLOAT,
    ):
        dtype = helper.tensor_dtype_to_np_dtype(element)
        graph = helper.make_graph(
            [helper.make_node("Gemm", [input_name, "weight", "bias"], ["action"])],
            "policy",
            [helper.make_tensor_value_info(input_name, element, [batch, size])],
            [helper.make_tensor_value_info("action", element, [batch, outputs])],
            [
                numpy_helper.from_array(np.zeros((size, outputs), dtype), "weight"),
                numpy_helper.from_array(np.full(outputs, bias, dtype), "bias"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        if text is not None:
            helper.set_model_props(model, {METADATA_KEY: text})
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


class ScriptedRobot:
    """A robot in perfect health, unless a script says otherwise.

    ``reading(number, state)`` may change or refuse a reading, ``writing(number)`` a write; both
    count from 0. ``events`` tells what was asked of it, in order.
    """

    def __init__(self, clock):
        self.description = MINITAUR
        self.clock = clock
        self.mode = Mode.DISARMED
        self.events = []
        self.sent = []
        self.pose = MINITAUR.stance_pose_rad
        self.reading = lambda number, state: state
        self.writing = lambda number: None
        self._reads = itertools.count()
        self._writes = itertools.count()

    def activate(self):
        self.events.append("activate")
        self.mode = Mode.READY

    def read(self):
        state = RobotState(
            t_ns=self.clock.now_ns(),
            motor_position_rad=self.pose.copy(),
            motor_velocity_rad_s=np.zeros(8),
            motor_torque_nm=np.zeros(8),
            rpy_rad=np.zeros(3),
            angular_rate_rad_s=np.zeros(3),
            battery_v=16.0,
            mode=self.mode,
        )
        return self.reading(next(self._reads), state)

    def write(self, command):
        self.writing(next(self._writes))
        self.events.append("write")
        self.sent.append(command)
        self.mode = Mode.ACTIVE
        return command

    def deactivate(self):
        self.events.append("deactivate")
        self.mode = Mode.DISARMED

    def close(self):
        self.deactivate()


@dataclasses.dataclass
class Bench:
    """A loop with everything around it at hand."""

    robot: ScriptedRobot
    clock: VirtualClock
    loop: ControlLoop

    @property
    def log(self):
        return self.loop.log()

    @property
    def fault_names(self):
        return [fault.name for fault in self.loop.faults]


@pytest.fixture
def bench(contract):
    """Builds a loop on a scripted robot: 5 ticks standing up, 10 of RUN, 2 of FINISH, 3 of DAMP."""

    def build(policy=None, contract=contract, **options):
        clock = VirtualClock(1_000_000_000)
        robot = ScriptedRobot(clock)
        durations = Durations(run_s=0.060, stand_up_s=0.030, finish_s=0.012, damp_s=0.018)
        action = np.zeros(8, np.float32)
        loop = ControlLoop(
            robot,
            clock,
            policy or (lambda observation: action),
            Pipeline(contract),
            durations,
            **options,
        )
        return Bench(robot, clock, loop)

    return build


class ScriptedBoard:
    """A motor controller behind a real pseudo terminal, in perfect health unless told otherwise.

    Attributes:
        path: Port for hosts.
        heard: Every message received.
        fault: What it reports, until it is told to clear it.
        mute: It hears, but says nothing.
    """

    def __init__(self, *, protocol_hash=PROTOCOL_HASH, robot_hash=ROBOT_HASH, fault=Fault.NONE):
        self.protocol_hash, self.robot_hash, self.fault = protocol_hash, robot_hash, fault
        self.heard, self.mute = [], False
        self.mode = Mode.DAMPING if fault else Mode.DISARMED
        self._board_fd, self._host_fd = os.openpty()
        tty.setraw(self._host_fd)
        self.path = os.ttyname(self._host_fd)
        self._decoder = Decoder()
        self._introduced = False
        self._sequence = self._echo = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    @property
    def moved(self):
        """Whether anything was asked of it that could move a robot."""
        return any(
            isinstance(m, Command) or (isinstance(m, Request) and m.action == Action.ARM)
            for m in self.heard
        )

    def actions(self):
        return [Action(m.action) for m in self.heard if isinstance(m, Request)]

    def close(self):
        self._stop.set()
        self._thread.join()
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
                    self.heard.append(message)
                    self._answer(message)
            if time.monotonic() >= due_s:
                due_s += STATE_INTERVAL_S
                if self._introduced:
                    self._send(self._state())

    def _answer(self, message):
        if isinstance(message, Hello):
            self._introduced = message.protocol_hash == self.protocol_hash
            self._introduced &= message.robot_hash == self.robot_hash
            self._send(self._identity())
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

    def _identity(self):
        return Identity(
            self.protocol_hash,
            self.robot_hash,
            2,
            7,
            b"scripted".ljust(16, b"\0"),
            b"test bench!!",
            4.0,
            0.1,
            1.0,
            60.0,
            200,
        )

    def _state(self):
        self._sequence = (self._sequence + 1) & 0xFFFF
        return State(
            sequence=self._sequence,
            boot_count=7,
            time_us=time.monotonic_ns() // 1000 & 0xFFFFFFFF,
            command_echo=self._echo,
            commands_lost=0,
            bad_frames=0,
            mode=self.mode,
            fault=self.fault.value,
            position_rad=MINITAUR.stance_pose_rad,
            velocity_rad_s=np.zeros(8),
            torque_nm=np.zeros(8),
            rpy_rad=np.zeros(3),
            angular_rate_rad_s=np.zeros(3),
            battery_v=16.0,
            winding_c=np.full(8, 25.0),
        )

    def _send(self, message):
        if self.mute:
            return
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


@pytest.fixture
def quick_and_patient(monkeypatch):
    """Runs over a real line: short, without a plot, and where a busy machine is no silent line."""
    monkeypatch.setattr(command.plots, "available", lambda: False)
    monkeypatch.setattr(
        command, "Durations", lambda run_s, stand_up_s: Durations(run_s, 0.4, 0.2, 0.1)
    )
    monkeypatch.setattr(safety, "STALE_PERIODS", 100)
