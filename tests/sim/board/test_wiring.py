"""Wirings of the emulated board: read from text, by hand, and on the stand."""

import dataclasses

import numpy as np
import pytest

from robot_firmware_bridge.firmware.library import Drive, Sensors
from sim.board.plant import PICK_UP_TICKS, BoardPlant, on_stand
from sim.board.wiring import MISTAKES, Wiring
from sim.errors import ParameterError
from sim.plant.params import PlantParams

ANGLES = np.arange(8) * 0.1 + 1.5
SPEEDS = np.arange(8) + 1.0


def read(text, before=None):
    angles, speeds = ANGLES.copy(), SPEEDS.copy()
    Wiring.parse(text).read(angles, speeds, before)
    return angles, speeds


def driven(text):
    return Wiring.parse(text).drive(np.arange(8) * 0.01 + 0.1, np.full(8, -0.5))


def test_no_text_is_a_right_wiring():
    assert Wiring.parse("") == Wiring() == Wiring.parse(" , ")
    np.testing.assert_array_equal(read("")[0], ANGLES)
    np.testing.assert_array_equal(driven(""), np.arange(8) * 0.01 + 0.1)


def test_swapped_plugs():
    angles, speeds = read("swap 0 back_rightL")
    assert angles[[0, 6]] == pytest.approx((ANGLES[6], ANGLES[0]))
    assert tuple(speeds[[0, 6]]) == (7.0, 1.0)
    assert driven("swap 0 6")[[0, 6]] == pytest.approx((0.16, 0.1))
    assert driven("swap-encoders 0 6")[0] == pytest.approx(0.1)
    assert read("swap-drives 0 6")[0][0] == pytest.approx(ANGLES[0])


def test_flipped_signs_are_about_the_bent_leg():
    angles, speeds = read("flip 1")
    assert angles[1] == pytest.approx(1.8 - (ANGLES[1] - 1.8))
    assert speeds[1] == -2.0
    assert driven("flip-drive 1")[1] == pytest.approx(-0.11)
    assert read("flip-drive 1")[1][1] == 2.0
    assert driven("flip-encoder 1")[1] == pytest.approx(0.11)


def test_offsets_add_up_and_plugs_that_are_out_do_nothing():
    assert read("offset 2 0.3, offset 2 0.1")[0][2] == pytest.approx(ANGLES[2] + 0.4)
    assert driven("unplug 3")[3] == -0.5
    angles, speeds = read("unplug-encoder 3", before=np.full(8, 1.0))
    assert (angles[3], speeds[3]) == (1.0, 0.0)


def test_what_is_swapped_may_be_flipped_too():
    """The sign is that of the output; the motor is the one that is plugged in there."""
    duty = driven("swap-drives 0 1, flip-drive 0")
    assert duty[:2] == pytest.approx((0.11, -0.1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("swop 1 2", "no wiring 'swop': there are swap, swap-drives"),
        ("swap 1", "wiring 'swap 1' must be swap A B"),
        ("flip 8", "no motor '8': there are 0 to 7, or front_leftL"),
        ("flip -1", "no motor '-1'"),
        ("offset 1 nan", r"RAD must be a number in \[-20, 20\], not 'nan'"),
        ("delay -1", "MS must be a number"),
    ],
)
def test_what_is_no_wiring_is_one_line(text, says):
    with pytest.raises(ParameterError, match=says):
        Wiring.parse(text)


def test_every_mistake_says_what_it_is():
    assert all(what and usage for usage, what, _ in MISTAKES.values())


@pytest.mark.parametrize("engine", ["pybullet", "mujoco"])
def test_on_the_stand_limp_legs_stay_bent_and_the_body_stays_put(plants, engine):
    plant = plants[engine]
    plant.reset(on_stand(PlantParams(seed=1)))
    board = BoardPlant(plant, None, 1.8)
    assert plant.motor_truth()[0] == pytest.approx(np.full(8, 1.8), abs=1e-6)
    start = plant.truth()
    drive = Drive()
    drive.enabled = True
    drive.duty[:] = (-0.05, *(0.0,) * 7)
    for _ in range(60):
        board.advance(drive)
    drive.enabled = False
    moved = plant.motor_truth()[0].copy()
    for _ in range(PICK_UP_TICKS + 100):
        board.advance(drive)
    assert moved[0] < 1.7
    # Nobody puts them back.
    assert plant.motor_truth()[0] == pytest.approx(moved, abs=0.2)
    assert plant.motor_truth()[0][1:] == pytest.approx(np.full(7, 1.8), abs=0.05)
    assert not board.on_stand
    assert plant.truth().position_m == pytest.approx(start.position_m, abs=1e-4)
    assert plant.truth().tilt_rad < 1e-3


def test_an_unplugged_motor_is_free(plants):
    plant = plants["mujoco"]
    params = dataclasses.replace(on_stand(PlantParams(seed=1)), motor_coulomb_nm=0.0)
    fallen = []
    for text in ("", "unplug 0"):
        plant.reset(params)
        board = BoardPlant(plant, Wiring.parse(text), 1.8)
        board.sense(Sensors())
        drive = Drive()
        drive.enabled = True
        for _ in range(150):
            board.advance(drive)
        fallen.append(plant.motor_truth()[0][0] - 1.8)
    assert fallen[1] > 1.5 * fallen[0] > 0.0
