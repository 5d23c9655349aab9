"""Steered episodes: drawn courses, errors by hand, and that a seed decides all of it."""

import dataclasses
import math

import numpy as np
import pytest

from deploy.command_sources import Script, constant, read_script
from deploy.errors import RunError
from deploy.policy.contract import ActionSpec
from deploy.policy.gait import stance
from deploy.policy.pipeline import RESOLUTION
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from training.errors import EvaluationError
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.evaluation.report import summarize
from training.export import write_policy
from training.rollout.policy import Normaliser
from training.tasks.course import COURSE, Shares, Track, course_for, draw_course
from training.tasks.env import LocomotionTask
from training.tasks.minitaur import make_steer, steer_stock_task, steer_task, walk_task

SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)
STILL = np.zeros(8, dtype=np.float32)


def stepping(frequency_hz: float) -> ActionSpec:
    return ActionSpec((0.0,) * 8, 0.0, stance(frequency_hz))


def test_drawn_courses_stay_in_range_and_hold_every_kind() -> None:
    rng = np.random.default_rng(0)
    courses = [draw_course(SPEC, 6.0, rng, Shares(ahead=0.35)) for _ in range(100)]
    requests = [request for course in courses for request in course.velocities]
    for course in courses:
        course.check(SPEC, "drawn")
        assert course.times_s[0] == 0.0
        assert course.times_s[-1] < 6.0
        gaps = np.diff((*course.times_s,))
        assert ((gaps >= 1.5) & (gaps <= 3.5)).all()
    assert STOP in requests
    ahead = sum(request == (0.8, 0.0) for request in requests) / len(requests)
    assert ahead == pytest.approx(0.35, abs=0.1)  # the greatest speed, straight on
    assert any(speed == 0.0 and turn != 0.0 for speed, turn in requests)
    assert any(speed != 0.0 and turn == 0.0 for speed, turn in requests)
    assert np.ptp(requests, axis=0) == pytest.approx((1.0, 1.0), abs=0.05)
    plain = draw_course(SPEC, 300.0, rng, Shares())
    assert (0.8, 0.0) not in plain.velocities


def test_errors_are_along_the_bodys_own_heading() -> None:
    # A stride of 0.2 s is two steps; looking along y, it walks 0.05 m along y in each.
    track = Track(constant(0.4, 0.3), SPEC, stepping(5.0), np.zeros(3), math.pi / 2)
    assert track.stride_errors(0.2) == (0.0, 0.0)
    command = np.array((0.4, 0.3))
    for step in range(1, 4):
        track.add(0.1 * step, np.array((0.0, 0.05 * step)), math.pi / 2, command)
    assert track.stride_errors(0.2) == pytest.approx((0.1, -0.3))
    assert track.forward_m == pytest.approx(0.15)
    errors = track.errors(0.3)
    assert dataclasses.astuple(errors) == pytest.approx((0.1, 0.3))


def test_the_heading_error_is_less_what_was_commanded_and_bounded() -> None:
    track = Track(constant(0.4, 0.3), SPEC, stepping(5.0), np.zeros(3), 3.0)
    assert track.heading_errors_rad == (0.0, 0.0)
    command = np.array((0.4, 0.3))
    track.add(0.1, np.zeros(3), 3.1, command)  # 0.1 rad, of which 0.03 were commanded
    assert track.heading_errors_rad == pytest.approx((0.0, 0.07))
    track.add(0.2, np.zeros(3), -3.1, command)  # past the half turn: 0.0832 rad more
    assert track.heading_errors_rad == pytest.approx((0.07, 0.07 + 0.0831853 - 0.03))
    for step in range(3, 9):
        track.add(0.1 * step, np.zeros(3), -3.1 + 0.2 * step, command)
    assert track.heading_errors_rad == (0.5, 0.5)


def test_a_fallen_body_is_still_commanded() -> None:
    track = Track(constant(0.4, 0.0), SPEC, stepping(10.0), np.zeros(3), 0.0)
    track.add(0.1, np.array((0.04, 0.0)), 0.0, np.array((0.4, 0.0)))  # as commanded
    assert track.errors(0.1).speed_error_mps == pytest.approx(0.0, abs=1e-12)
    assert track.errors(0.5).speed_error_mps == pytest.approx(4 * 0.4 / 5)


def test_the_course_is_slowed_to_the_ranges_of_the_policy() -> None:
    """The course has 0.7 m/s at most and 0.4 rad/s either way."""
    whole = course_for(VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 1.0, 1.0))
    assert whole == read_script(COURSE)
    slow = VelocityCommandSpec((-0.1, 0.35), (-0.1, 0.3), 1.0, 1.0)
    slowed = course_for(slow)
    slowed.check(slow, "course")
    assert slowed.times_s == whole.times_s
    expected = np.array(whole.velocities) * (0.35 / 0.7, 1.0)
    turns = expected[:, 1]
    turns[turns < 0.0] *= 0.1 / 0.4
    turns[turns > 0.0] *= 0.3 / 0.4
    np.testing.assert_allclose(slowed.velocities, expected, rtol=1e-12)


@pytest.mark.parametrize("task", [steer_task(), steer_stock_task(), walk_task()])
def test_no_command_is_too_small_for_a_network_to_see(task: LocomotionTask) -> None:
    """A uniform draw deviates by its width over the root of 12; commands of 0 make it less."""
    spec = task.contract.velocity_command
    assert spec is not None
    for low, high in spec.ranges:
        assert (high - low) / math.sqrt(12.0) > 2.0 * RESOLUTION["velocity_command"]


def test_a_seed_decides_the_course_and_the_episode() -> None:
    env = make_steer(randomization="table1")
    runs = []
    for seed in (4, 5, 4):
        observation, info = env.reset(seed=seed)
        rows = [observation, *(env.step(STILL)[0] for _ in range(30))]
        runs.append((info["course"], np.array(rows)))
    env.close()
    (first, rows), (other, _), (again, rows_again) = runs
    assert first == again != other
    np.testing.assert_array_equal(rows, rows_again)
    command = rows[:, -2:]
    assert np.abs(command[-1] - command[0]).max() > 0.0


def test_the_observed_command_slews_as_in_deploy() -> None:
    env = make_steer(course=Script((0.0, 0.3), ((0.4, -0.2), STOP)), episode_s=0.6)
    env.reset(seed=0)
    command = np.array([env.step(STILL)[0][-2:] for _ in range(100)])
    env.close()
    # 0.8 m/s2 and 1 rad/s2 up to 0.3 s, and back.
    np.testing.assert_allclose(command[24], (0.12, -0.15), rtol=1e-5)
    np.testing.assert_allclose(command[48], (0.8 * 0.294, -0.2), rtol=1e-5)
    assert command[-1] == pytest.approx((0.0, 0.0), abs=1e-6)


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    """A policy file: the walk with a network of zeros."""
    contract = steer_task().contract
    size = make_steer().observation_space.shape[0]
    normaliser = Normaliser(np.zeros(size, np.float32), np.ones(size, np.float32), 5.0)
    zeros = [(np.zeros((8, size), np.float32), np.zeros(8, np.float32))]
    path = tmp_path_factory.mktemp("policies") / "walk.onnx"
    write_policy(zeros, normaliser, contract, path)
    return path


@pytest.mark.parametrize("plant", ["pybullet", "mujoco"])
def test_the_reference_follows_a_turn(walker, tmp_path, plant) -> None:
    course = tmp_path / "left.csv"
    course.write_text("t_s,speed_mps,yaw_rate_rad_s\n0,0.4,0.3\n")
    job = Evaluation(
        policy=walker, plant=plant, episodes=1, seconds=4.0, workers=0, course=str(course)
    )
    report = summarize(job, list(evaluate(job)))
    assert report["survived"] == 1
    assert report["course"] == str(course)
    assert report["speed_error_mps"] < 0.2
    assert report["yaw_rate_error_rad_s"] < 0.25
    assert report["mean_abs_drift_m"] is None
    assert report["course_episodes"][0]["speed_error_mps"] == report["speed_error_mps"]


def test_straight_on_is_a_course_with_a_drift(walker) -> None:
    reports = []
    for course in ("ahead", "0.8,0"):
        job = Evaluation(policy=walker, episodes=1, seconds=1.0, workers=0, course=course)
        reports.append(summarize(job, list(evaluate(job))))
    ahead, constant_speed = reports
    assert (ahead.pop("course"), constant_speed.pop("course")) == ("ahead", "0.8,0")
    assert ahead == constant_speed
    assert ahead["mean_abs_drift_m"] >= 0.0


def test_impossible_courses_are_refused(walker, tmp_path) -> None:
    fast = tmp_path / "fast.csv"
    fast.write_text("t_s,speed_mps,yaw_rate_rad_s\n0,2,0\n")
    with pytest.raises(RunError, match="2 m/s and 0 rad/s at 0 s is out of the policy's ranges"):
        next(evaluate(Evaluation(policy=walker, episodes=1, course=str(fast))))
    with pytest.raises(EvaluationError, match="takes no command: leave --course out"):
        next(evaluate(Evaluation(episodes=1, course=str(fast))))
