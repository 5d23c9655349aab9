"""Small files of every kind that is read, of a robot whose motion is known."""

import dataclasses
import math
import struct

import numpy as np
import pytest

import policies
from calibration.record import FootGains
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.geometry import leg_to_motor, quaternion_from_rpy
from robot_firmware_bridge.robot import MINITAUR
from sim.board.lockstep import lockstep
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.robot import SimClock, SimRobot

DURATIONS = Durations(run_s=0.8, stand_up_s=0.3, finish_s=0.06, damp_s=0.06)


@pytest.fixture(scope="module")
def plant():
    """The plant of a file's tests, of any state."""
    plant = Plant(MujocoEngine())
    yield plant
    plant.close()


@dataclasses.dataclass
class OpenLog:
    """A log of the stock mainboard before it is packed: one list of numbers a record."""

    names: list[str]
    format: str
    rows: list[list[float]]

    @property
    def header(self):
        return f"{','.join(self.names)}\n{self.format}\n".encode()

    @property
    def frames(self):
        return [b"\xaa\xbb" + struct.pack("<" + self.format, *row) for row in self.rows]

    @property
    def data(self):
        return self.header + b"".join(self.frames)

    def set(self, row, **values):
        for name, value in values.items():
            self.rows[row][self.names.index(name)] = value

    def column(self, name):
        return np.array([row[self.names.index(name)] for row in self.rows])


@pytest.fixture
def make_openlog():
    """Builds a log of legs that swing by 0.3 rad about an extension of 1.5 rad, twice a second."""

    def make(records=100, later_firmware=False):
        names = [
            "t",
            *"rpy",
            *(f"q{i}" for i in range(8)),
            *(f"u{i}" for i in range(8)),
            "xd",
            "mo",
        ]
        form = "I" + "f" * 20 + "B"
        if later_firmware:
            names[4:4], names[-1:-1] = ["rd", "pd", "yd"], ["Vb"]
            form = "I" + "f" * 24 + "B"
        log = OpenLog(names, form, [])
        for k in range(records):
            t_s = 0.01 * k
            swing = 0.3 * math.sin(4.0 * math.pi * t_s)
            angles = leg_to_motor(np.array([swing] * 4 + [1.5] * 4))
            values = {
                "t": 5000 + 10 * k,
                "r": 0.01,
                "p": 0.1 * math.sin(4.0 * math.pi * t_s),
                "y": -0.5,
                "rd": 0.1,
                "pd": 0.2,
                "yd": 0.3,
                "xd": 0.7,
                "Vb": 15.5,
                "mo": 9,
            }
            values |= {f"q{i}": angles[i] for i in range(8)}
            values |= {f"u{i}": 0.1 * (i + 1) for i in range(8)}
            log.rows.append([values[name] for name in names])
        return log

    return make


@pytest.fixture
def write(tmp_path):
    """Writes bytes and returns their path."""

    def write(data, name="robot.log"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def walk_arrays():
    """Arrays of a walk of 6 s whose body tilts as its legs say; the markers are turned by 2 rad."""
    gains = FootGains()
    joint_t_s = np.arange(60) / 10.0 + 0.3
    extension, swing = np.zeros((60, 4)), np.zeros((60, 4))
    for leg in range(4):
        # Frequencies that no leg shares, so that every contrast of the legs occurs.
        extension[:, leg] = 1.3 + 0.2 * np.sin((0.9 + 0.35 * leg) * joint_t_s + leg)
        swing[:, leg] = 0.2 * np.sin((1.1 + 0.2 * leg) * joint_t_s)
    position = np.array([leg_to_motor(row) for row in np.hstack((swing, extension))])

    def depth_of(t_s):
        late = np.stack([np.interp(t_s + 0.12, joint_t_s, each) for each in extension.T], axis=1)
        swung = np.stack([np.interp(t_s + 0.12, joint_t_s, each) for each in swing.T], axis=1)
        across = gains.upper_link_m * np.sin(late)
        length = np.sqrt(gains.lower_link_m**2 - across**2) - gains.upper_link_m * np.cos(late)
        return length * np.cos(swung)

    mocap_t_s = np.arange(720) / 120.0
    depth = depth_of(mocap_t_s)
    pitch = -(depth @ (1, -1, 1, -1)) / 0.8  # longer front legs raise the nose
    roll = (depth @ (1, 1, -1, -1)) / 0.5
    mount = quaternion_from_rpy(np.array((0.0, 0.0, -2.0)))
    quaternion = np.array(
        [
            _product(quaternion_from_rpy(np.array((r, p, 0.4))), mount)
            for r, p in zip(roll, pitch, strict=True)
        ]
    )
    position_m = np.stack((0.1 * mocap_t_s, 0.0 * mocap_t_s, 0.2 + 0.0 * mocap_t_s), axis=1)
    command_t_s = np.arange(5000) / 900.0 + 0.05
    return {
        "command_t_s": command_t_s,
        "command_x_m": np.full((5000, 4), 0.15, np.float32),
        "command_y_m": np.tile(np.float32((0.01, 0.02, 0.03, 0.04)), (5000, 1)),
        "mocap_t_s": mocap_t_s,
        "mocap_position_m": position_m,
        "mocap_quaternion_xyzw": quaternion.astype(np.float32),
        "joint_t_s": joint_t_s,
        "joint_position_rad": position.astype(np.float32),
        "joint_velocity_rad_s": np.full((60, 8), 0.5, np.float32),
        "joint_torque_nm": np.full((60, 8), 0.25, np.float32),
        "current_t_s": joint_t_s + 0.002,
        "motor_current_a": np.tile(np.float32((1, 2, 3, 4, -5, -6, -7, -8)), (60, 1)),
    }


def _product(a, b):
    """The quaternion that rotates by b first, written out anew."""
    av, aw, bv, bw = a[:3], a[3], b[:3], b[3]
    return np.array((*(aw * bv + bw * av + np.cross(av, bv)), aw * bw - av @ bv))


@pytest.fixture(scope="session")
def sim_log():
    """The log of a run of the shipped trot on the simulated robot, 0.8 s of RUN."""
    return _simulated(Plant(BulletEngine()))


@pytest.fixture(scope="session")
def mujoco_log():
    """The same in MuJoCo."""
    return _simulated(Plant(MujocoEngine()))


def _simulated(plant):
    plant.reset(PlantParams())
    clock = SimClock(plant)
    robot = SimRobot(plant, clock)
    log = _run(robot, clock, robot)
    plant.close()
    return log


@pytest.fixture(scope="session")
def emulator_log():
    """The same on the emulated board, in lockstep."""
    plant = Plant(BulletEngine())
    plant.reset(PlantParams(imu_noise_std=0.01))
    stack = lockstep(plant)
    log = _run(stack.robot, stack.clock, stack.odometry)
    plant.close()
    return log


def _run(robot, clock, odometry):
    network = OnnxPolicy.load(policies.find("trot"), MINITAUR)
    controller = Controller(network.contract, network, MINITAUR)
    loop = ControlLoop(robot, clock, controller, DURATIONS, odometry=odometry)
    loop.run()
    assert loop.faults == []
    return loop.log()
