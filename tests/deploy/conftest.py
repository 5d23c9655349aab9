"""A contract, ONNX files for it, and a scripted robot on a virtual clock."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.clock import VirtualClock
from deploy.contract import METADATA_KEY, ActionSpec, Contract, ObservationTerm
from deploy.gaits import Gait, stance
from deploy.loop import ControlLoop
from deploy.modes import Durations
from deploy.pipeline import Pipeline
from robot_firmware_bridge.messages import Mode, RobotState
from robot_firmware_bridge.robot import MINITAUR

PERIOD_NS = 6_000_000


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
