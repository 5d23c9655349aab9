"""Evaluation on the emulated board: results by hand, and real runs in lockstep."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from deploy.command_sources import constant
from deploy.loop.modes import LoopMode
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.flight_log import FlightLog
from robot_firmware_bridge.robot import MINITAUR
from sim.errors import ParameterError
from sim.plant.params import PlantParams
from sim.plant.randomization import drawn
from training.evaluate import evaluate
from training.evaluation.job import EMULATOR, Evaluation
from training.evaluation.on_board import BoardEvaluator, board_result
from training.evaluation.on_plant import PlantEvaluator
from training.evaluation.report import ending, summarize

PERIOD_S = 0.006
STAND_UP, RUN, FINISH, DAMP = 100, 400, 20, 10
TICKS = STAND_UP + RUN + FINISH + DAMP


def flight_log(policy="trot", **changes):
    """A flight log of all modes: walks 1 mm a tick in RUN, and 0.1 mm to the left."""
    modes = np.repeat(list(LoopMode)[:4], (STAND_UP, RUN, FINISH, DAMP)).astype(np.int8)
    position = np.zeros((TICKS, 3))
    walked = np.clip(np.arange(TICKS) - STAND_UP, 0, RUN)
    position[:, 0], position[:, 1], position[:, 2] = 0.3 + 1e-3 * walked, 1e-4 * walked, 0.2
    arrays = {
        "deadline_ns": 10**9 + np.arange(TICKS) * round(PERIOD_S * 1e9),
        "mode": modes,
        "motor_torque_nm": np.full((TICKS, 8), -0.5),
        "motor_velocity_rad_s": np.full((TICKS, 8), 2.0),
        "motor_position_rad": np.full((TICKS, 8), 2.0),
        "base_position_m": position,
        "velocity_command": np.tile((0.4, 0.3), (TICKS, 1)),
        "rpy_rad": np.zeros((TICKS, 3)),
    }
    names = set(FlightLog.__slots__) - {"contract", "also", "robot", "period_s"}
    rest = {name: np.zeros(TICKS) for name in names - set(arrays)}
    contract = OnnxPolicy.load(f"policies/{policy}.onnx").contract
    return FlightLog(contract, MINITAUR, PERIOD_S, **{**rest, **arrays, **changes})


LEVEL = np.zeros((TICKS, 3))


def outcome(log, cause="", course=None, seconds=RUN * PERIOD_S, rpy_rad=LEVEL):
    return board_result(0, cause, log, rpy_rad, PlantParams(), 7.473, seconds, course)


def test_a_good_run_by_hand():
    result = outcome(flight_log())
    assert (result.survived, result.cause) == (True, "")
    # Of RUN alone: the 0.6 s of standing up before it do not count, nor where it began.
    assert result.seconds == pytest.approx(RUN * PERIOD_S)
    assert result.distance_m == pytest.approx(0.4)
    assert result.drift_m == pytest.approx(0.04)
    assert result.mean_power_w == pytest.approx(8 * 0.5 * 2.0)
    assert result.speed_mps == pytest.approx(0.4 / 2.4)
    # 8 W / (7.473 kg * 9.81 m/s2 * 1/6 m/s)
    assert result.cost_of_transport == pytest.approx(0.6548, abs=1e-3)


def test_a_body_on_the_floor_is_a_fall_although_the_loop_cannot_see_it():
    position = flight_log().base_position_m.copy()
    position[STAND_UP + 100 :, 2] = 0.05
    result = outcome(flight_log(base_position_m=position))
    assert result.cause == "fell: the body is 0.05 m above the floor"
    assert not result.survived
    assert result.seconds == pytest.approx(100 * PERIOD_S)
    assert result.distance_m == pytest.approx(0.1)


def test_a_course_by_hand():
    result = outcome(flight_log("steer"), course=constant(0.4, 0.3))
    assert result.distance_m == pytest.approx(0.4)
    assert result.drift_m is None
    assert result.speed_error_mps == pytest.approx(0.4 - 1e-3 / PERIOD_S)
    assert result.yaw_rate_error_rad_s == pytest.approx(0.3)
    # Looking to the left, it walks 0.1 mm a tick ahead, and what counts is ahead.
    yaw = np.tile((0.0, 0.0, np.pi / 2), (TICKS, 1))
    result = outcome(flight_log("steer"), course=constant(0.4, 0.3), rpy_rad=yaw)
    assert result.distance_m == pytest.approx(0.04)
    # What the IMU says counts for nothing.
    noise = np.random.default_rng(0).normal(0.0, 0.05, (TICKS, 3))
    noisy = outcome(flight_log("steer", rpy_rad=noise), course=constant(0.4, 0.3), rpy_rad=yaw)
    assert noisy == result


def test_a_body_that_fell_on_a_course_lies_there_until_the_end_of_it():
    position = flight_log().base_position_m.copy()
    position[STAND_UP + 100 :] = position[STAND_UP + 100] * (1.0, 1.0, 0.3)
    log = flight_log("steer", base_position_m=position)
    result = outcome(log, course=constant(0.4, 0.0), seconds=1000 * PERIOD_S)
    assert result.distance_m == pytest.approx(0.1)
    # A tenth of the time it walks at 1/6 m/s, then not at all; a stride is 48 of the 1000 ticks.
    slow, still = 0.4 - 1e-3 / PERIOD_S, 0.4
    assert result.speed_error_mps == pytest.approx(0.1 * slow + 0.9 * still, abs=0.02)


def test_before_the_policy_ran_nothing_was_walked():
    log = flight_log(mode=np.zeros(TICKS, np.int8))
    result = outcome(log, "pose_out_of_range: motor 3")
    assert (result.seconds, result.distance_m, result.mean_power_w) == (0.0, 0.0, 0.0)
    assert result.cause == "pose_out_of_range: motor 3"


@pytest.mark.parametrize(
    ("cause", "short", "overheated"),
    [
        ("tilt: 0.60 rad, bound 0.50 rad", "tilt", False),
        ("robot_fault: the motor controller reports OVERHEAT", "robot_fault OVERHEAT", True),
    ],
)
def test_a_cause_has_a_short_name(cause, short, overheated):
    assert ending(cause) == short
    assert outcome(flight_log(), cause).overheated is overheated


@pytest.mark.parametrize(
    ("randomization", "terrain", "friction"),
    [("none", "flat", None), ("table1", "flat", None), ("beyond", "ice", 0.25)],
)
def test_the_board_draws_the_plants_that_the_other_plants_draw(randomization, terrain, friction):
    job = Evaluation(randomization=randomization, terrain=terrain, seconds=0.02, workers=0)
    evaluator = PlantEvaluator(job)
    on_board = BoardEvaluator(dataclasses.replace(job, plant=EMULATOR))
    for index in (0, 7):
        params = drawn(randomization, job.seed_of(index))
        if friction is not None:  # what the terrain sets is drawn all the same, and not used
            params = dataclasses.replace(params, contact_friction=friction)
        assert evaluator.run(index).params == dataclasses.asdict(params)
        params = dataclasses.replace(params, control_step_s=0.006)
        assert on_board.run(index).params == dataclasses.asdict(params)
    evaluator.close()
    on_board.close()
    assert job.seed_of(0) != job.seed_of(7)


def test_ranges_that_there_are_not_are_named_with_those_that_there_are():
    with pytest.raises(ParameterError, match="'moon'; known: none, table1, beyond"):
        drawn("moon", 0)


def test_the_shipped_trot_over_wire_and_firmware_whatever_the_workers():
    job = Evaluation(
        plant=EMULATOR, randomization="table1", episodes=3, seconds=0.8, push=30.0, workers=0
    )
    results = list(evaluate(job))
    assert list(evaluate(dataclasses.replace(job, workers=2))) == results
    first = results[0]
    assert first.params == dataclasses.asdict(
        dataclasses.replace(
            drawn("table1", job.seed_of(0)),
            control_step_s=0.006,
            push_force_low_n=30.0,
            push_force_high_n=30.0,
        )
    )
    assert (first.survived, first.cause) == (True, "")
    assert first.seconds == pytest.approx(0.8, abs=0.006)
    assert first.speed_mps > 0.3
    assert first.mean_power_w > 10.0
    summary = summarize(job, results)
    assert (summary["plant"], summary["survived"]) == (EMULATOR, 3)
    json.dumps(summary, allow_nan=False)


def test_the_shipped_walk_follows_its_course_over_wire_and_firmware():
    job = Evaluation(
        policy=Path("policies/steer.onnx"), plant=EMULATOR, episodes=1, seconds=2.0, workers=0
    )
    summary = summarize(job, list(evaluate(job)))
    assert (summary["course"], summary["survived"]) == ("steer.csv", 1)
    # Straight on: half a second of speeding up, then as requested.
    assert summary["speed_mps"]["mean"] > 0.15
    assert summary["speed_error_mps"] < 0.2
    assert summary["yaw_rate_error_rad_s"] < 0.3


def test_the_reference_alone_runs_there_too():
    job = Evaluation(plant=EMULATOR, episodes=1, seconds=0.5, workers=0, reference_only=True)
    (alone,) = evaluate(job)
    (whole,) = evaluate(dataclasses.replace(job, reference_only=False))
    assert alone.survived
    assert alone.distance_m != whole.distance_m
