"""The numbers of the live view, from ticks whose numbers are known."""

import math
import re

import numpy as np
import pytest

from deploy.loop.modes import LoopMode
from deploy.record.tick_row import TickRow
from deploy.view.figures import Peak, figures
from deploy.view.legs import Legs
from deploy.view.panel import Notices, panel, waiting
from deploy.view.pose import FOOT_RADIUS_M, Pose
from robot_firmware_bridge.geometry import body_to_world, rpy_from_quaternion
from robot_firmware_bridge.messages import Fault
from robot_firmware_bridge.robot import MINITAUR

PERIOD_S = 0.01


@pytest.fixture
def ticks():
    """Two seconds of a robot that walks to the north-east, its first heading, at 0.5 m/s."""
    row = TickRow.of(4, 8)
    ticks = row.rows(200).view(row.dtype)[:, 0]
    number = np.arange(200)
    ticks["tick"] = number
    ticks["mode"] = LoopMode.RUN
    ticks["policy"] = 0
    ticks["deadline_ns"] = 10_000_000 * number
    ticks["woke_ns"] = ticks["deadline_ns"] + 20_000
    ticks["state_t_ns"] = ticks["woke_ns"] - 3_000_000
    ticks["compute_ns"] = 500_000
    ticks["rpy_rad"] = (0.01, -0.02, math.pi / 4)
    ticks["base_position_m"] = np.stack((0.005 * number, 0 * number, 0.2 + 0 * number), axis=1)
    ticks["motor_torque_nm"] = 0.5
    ticks["battery_v"] = 15.5
    ticks["motor_position_rad"] = ticks["target_rad"] = MINITAUR.stance_pose_rad
    return ticks


def of(ticks):
    return figures(ticks[100:], ticks[:1], PERIOD_S)


def text_of(ticks, notices=None, silent_s=0.0):
    """The panel as a person reads it."""
    notices = notices or Notices(kind="sim", policies=["walk", "trot"], period_s=PERIOD_S)
    html = panel(of(ticks), notices, MINITAUR, silent_s)
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_speed_and_distance_are_those_of_the_positions(ticks):
    found = of(ticks)
    assert found.speed_mps == pytest.approx(0.5)
    assert found.distance_m == pytest.approx(0.995)
    assert found.elapsed_s == pytest.approx(1.99)


def test_speed_is_along_the_heading_of_now(ticks):
    ticks["rpy_rad"][-1, 2] += math.pi / 3  # the robot has turned since, and goes sideways
    assert of(ticks).speed_mps == pytest.approx(0.25)


def test_a_real_robot_has_no_speed_and_no_position(ticks):
    ticks["base_position_m"] = math.nan
    found = of(ticks)
    assert (found.speed_mps, found.distance_m) == (None, None)
    assert "measured not measured" in text_of(ticks)


def test_timing_is_the_worst_of_the_window(ticks):
    ticks["woke_ns"][150] += 4_000_000
    ticks["compute_ns"][150] = 900_000
    found = of(ticks)
    assert found.late_max_us == pytest.approx(4020.0)
    assert found.late_p99_us == pytest.approx(20.0 + 40.0)  # 1 of 100, between two values
    assert found.compute_max_us == pytest.approx(900.0)
    assert found.state_age_ms == pytest.approx(7.0)


def test_ticks_that_were_skipped_are_counted_over_the_whole_run(ticks):
    assert of(ticks).missed == 0
    ticks["deadline_ns"][50:] += 30_000_000
    assert of(ticks).missed == 3
    assert "missed ticks 3" in text_of(ticks)


def test_the_worst_motor_is_named(ticks):
    ticks["motor_torque_nm"][120, 3] = -2.5
    ticks["winding_temperature_c"] = [30, 31, 32, 33, 34, 88, 36, 37]
    assert of(ticks).torque_nm == Peak(2.5, 3)
    assert of(ticks).winding_c == Peak(88.0, 5)
    assert "hottest winding 88 °C front_rightR peak torque 2.5 Nm back_leftR" in text_of(ticks)


def test_the_panel_says_which_policy_does_what(ticks):
    ticks["policy"][-1] = 1
    ticks["velocity_command"][-1] = (0.4, -0.2)
    assert text_of(ticks).startswith("run trot 2.0 s sim velocity command +0.40 m/s, -0.20 rad/s")


def test_trouble_is_shown(ticks):
    ticks["robot_fault"][-1] = Fault.STALL | Fault.OVERHEAT
    notices = Notices(policies=["walk"], reaction="battery slow", faults=["robot_link: <gone>"])
    text = text_of(ticks, notices, silent_s=1.5)
    for words in ("motor controller: OVERHEAT, STALL", "battery slow", "no new tick for 1.5 s"):
        assert words in text
    assert "robot_link: &lt;gone&gt;" in text


def test_a_run_that_is_over_is_not_blamed_for_its_silence(ticks):
    text = text_of(ticks, Notices(policies=["walk"], over=True), silent_s=1.5)
    assert text.startswith("over ")
    assert "no new tick" not in text


def test_counters_of_a_link_are_shown_where_there_is_one(ticks):
    assert "states lost" not in text_of(ticks)
    counters = {"states_lost": 3, "crc_errors": 0, "frames": 1000}
    assert "states lost 3 CRC errors 0" in text_of(ticks, Notices(counters=counters))


def test_before_the_first_tick_the_page_says_that_it_waits():
    assert "waiting for the first tick" in waiting(Notices(dry_run=True))
    assert "dry run" in waiting(Notices(dry_run=True))


def test_the_heading_of_the_picture_counts_from_the_first_tick(ticks):
    pose = Pose.of(ticks[-1], math.pi / 4, MINITAUR, True)
    np.testing.assert_allclose(rpy_from_quaternion(pose.quaternion), (0.01, -0.02, 0.0), atol=1e-12)
    assert pose.height_m == 0.2


def test_the_ground_passes_below_the_robot(ticks):
    """At 0.995 m the lines, which repeat every 0.5 m, are 5 mm ahead of where they were."""
    pose = Pose.of(ticks[-1], 0.0, MINITAUR, True)
    np.testing.assert_allclose(pose.ground_m, (0.005, 0.0), atol=1e-9)


@pytest.mark.parametrize("roll_rad", [0.0, 0.3, math.pi])
def test_where_the_height_is_not_known_the_lowest_point_is_on_the_ground(ticks, roll_rad):
    ticks["base_position_m"] = math.nan
    rpy_rad = np.array((roll_rad, 0.1, 0.0))
    ticks["rpy_rad"][-1] = rpy_rad
    pose = Pose.of(ticks[-1], 0.0, MINITAUR, True)
    np.testing.assert_array_equal(pose.ground_m, (0.0, 0.0))
    legs = Legs.at(MINITAUR.stance_pose_rad, MINITAUR)
    feet = [body_to_world(rpy_rad, foot)[2] + pose.height_m for foot in legs.feet]
    assert min(feet) >= FOOT_RADIUS_M - 1e-9
    if roll_rad < 1.0:
        assert min(feet) == pytest.approx(FOOT_RADIUS_M)
