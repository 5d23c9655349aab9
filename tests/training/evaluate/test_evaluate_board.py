"""Evaluation on the emulated board: runs by hand, and the shipped trot over a real serial line."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.command_sources import constant
from deploy.loop.modes import LoopMode
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.flight_log import FlightLog
from robot_firmware_bridge.robot import MINITAUR
from sim.errors import ParameterError
from sim.plant.randomization import drawn
from training.errors import EvaluationError
from training.evaluate import board_run, evaluate_board
from training.evaluate.board_run import BoardRun, Line, ending, outcome, run_on_board
from training.evaluate.evaluate import Evaluator, evaluate, summarize
from training.evaluate.evaluation import EMULATOR, Evaluation

PERIOD_S = 0.006
STAND_UP, RUN, FINISH, DAMP = 100, 400, 20, 10


def flight_log(**changes):
    """A flight log of all modes: walks 1 mm a tick in RUN, and 0.1 mm to the left."""
    ticks = STAND_UP + RUN + FINISH + DAMP
    modes = np.repeat(list(LoopMode)[:4], (STAND_UP, RUN, FINISH, DAMP)).astype(np.int8)
    position = np.zeros((ticks, 3))
    walked = np.clip(np.arange(ticks) - STAND_UP, 0, RUN)
    position[:, 0], position[:, 1], position[:, 2] = 0.3 + 1e-3 * walked, 1e-4 * walked, 0.2
    deadline_ns = 10**9 + np.arange(ticks) * round(PERIOD_S * 1e9)
    arrays = {
        "deadline_ns": deadline_ns,
        "mode": modes,
        "motor_torque_nm": np.full((ticks, 8), -0.5),
        "motor_velocity_rad_s": np.full((ticks, 8), 2.0),
        "base_position_m": position,
    }
    names = set(FlightLog.__slots__) - {"contract", "robot", "period_s"}
    rest = {name: np.zeros(ticks) for name in names - set(arrays)}
    contract = OnnxPolicy.load("policies/trot.onnx").contract
    return FlightLog(contract, MINITAUR, PERIOD_S, **{**rest, **arrays, **changes})


def report(*details, trip=7000.0):
    counts = {"states": 900, "states_lost": 1, "commands_lost": 2, "reconnects": 0}
    damage = {"crc_errors": 3, "framing_errors": 4, "board_bad_frames": 5}
    times = None if trip is None else {"p50": 5000.0, "p99": trip, "max": 9000.0}
    link = {**counts, **damage, "round_trip_us": times}
    return {"fault_details": list(details), "ticks": RUN, "overruns": 6, "link": link}


def test_a_good_run_by_hand():
    run = outcome(report(), flight_log())
    assert (run.cause, run.disturbance) == ("", "")
    # Of RUN alone: the 0.6 s of standing up before it do not count, nor where it began.
    assert run.seconds == pytest.approx(RUN * PERIOD_S)
    assert run.distance_m == pytest.approx(0.4)
    assert run.drift_m == pytest.approx(0.04)
    assert run.mean_power_w == pytest.approx(8 * 0.5 * 2.0)
    assert run.line == Line(RUN, 6, 900, 1, 2, 12, 0, 7000.0)
    assert outcome(report(trip=None), flight_log()).line.round_trip_p99_us is None


def test_a_body_on_the_floor_is_a_fall_although_the_loop_cannot_see_it():
    position = flight_log().base_position_m.copy()
    position[STAND_UP + 100 :, 2] = 0.05
    run = outcome(report(), flight_log(base_position_m=position))
    assert run.cause == "fell: the body is 0.05 m above the floor"
    assert run.seconds == pytest.approx(100 * PERIOD_S)
    assert run.distance_m == pytest.approx(0.1)
    assert run.disturbance == ""


def steered_log(**changes):
    """The same walk of a policy that takes commands, told to walk at 0.4 m/s and turn left."""
    command = np.tile((0.4, 0.3), (STAND_UP + RUN + FINISH + DAMP, 1))
    arrays = {"command": command, "rpy_rad": np.zeros((len(command), 3)), **changes}
    contract = OnnxPolicy.load("policies/steer.onnx").contract
    return dataclasses.replace(flight_log(**arrays), contract=contract)


def test_a_course_by_hand():
    run = outcome(report(), steered_log(), constant(0.4, 0.3), RUN * PERIOD_S)
    assert run.distance_m == pytest.approx(0.4)
    assert run.drift_m is None
    assert run.tracking.speed_error_mps == pytest.approx(0.4 - 1e-3 / PERIOD_S)
    assert run.tracking.yaw_rate_error_rad_s == pytest.approx(0.3)
    # Looking to the left, it walks 0.1 mm a tick ahead, and what counts is ahead.
    yaw = np.tile((0.0, 0.0, np.pi / 2), (STAND_UP + RUN + FINISH + DAMP, 1))
    run = outcome(report(), steered_log(rpy_rad=yaw), constant(0.4, 0.3), RUN * PERIOD_S)
    assert run.distance_m == pytest.approx(0.04)


def test_a_body_that_fell_on_a_course_lies_there_until_the_end_of_it():
    position = steered_log().base_position_m.copy()
    position[STAND_UP + 100 :] = position[STAND_UP + 100] * (1.0, 1.0, 0.3)
    log = steered_log(base_position_m=position)
    run = outcome(report(), log, constant(0.4, 0.0), 1000 * PERIOD_S)
    assert run.cause == "fell: the body is 0.06 m above the floor"
    assert run.seconds == pytest.approx(100 * PERIOD_S)
    assert run.distance_m == pytest.approx(0.1)
    # A tenth of the time it walks at 1/6 m/s, then not at all; a stride is 48 of the 1000 ticks.
    slow, still = 0.4 - 1e-3 / PERIOD_S, 0.4
    assert run.tracking.speed_error_mps == pytest.approx(0.1 * slow + 0.9 * still, abs=0.02)


def test_before_the_policy_ran_nothing_was_walked():
    log = flight_log(mode=np.zeros(STAND_UP + RUN + FINISH + DAMP, np.int8))
    run = outcome(report("pose_out_of_range: motor 3"), log)
    assert (run.seconds, run.distance_m, run.mean_power_w) == (0.0, 0.0, 0.0)
    assert run.cause == "pose_out_of_range: motor 3"


@pytest.mark.parametrize(
    ("cause", "disturbed", "short"),
    [
        ("tilt: 0.60 rad, bound 0.50 rad", False, "tilt"),
        ("robot_fault: the motor controller reports OVERHEAT", False, "robot_fault OVERHEAT"),
        ("stale_state: 29.6 ms old, bound 18.0 ms", True, "stale_state"),
        ("robot_link: the link was lost", True, "robot_link"),
        (
            "robot_fault: the motor controller reports COMMAND_TIMEOUT",
            True,
            "robot_fault COMMAND_TIMEOUT",
        ),
    ],
)
def test_what_the_computer_did_is_told_from_what_the_policy_did(cause, disturbed, short):
    run = outcome(report(cause), flight_log())
    assert run.cause == cause
    assert run.disturbance == (cause if disturbed else "")
    assert ending(cause) == short


@pytest.mark.parametrize(
    ("ticks_before_the_end", "lost", "disturbed"), [(50, 3, True), (50, 2, False), (250, 9, False)]
)
def test_a_fall_soon_after_the_loop_stood_still_is_not_the_policys(
    ticks_before_the_end, lost, disturbed
):
    deadline_ns = flight_log().deadline_ns.copy()
    deadline_ns[STAND_UP + RUN - ticks_before_the_end :] += lost * round(PERIOD_S * 1e9)
    run = outcome(report("tilt: 0.60 rad"), flight_log(deadline_ns=deadline_ns))
    expected = f"tilt: 0.60 rad; the loop lost {lost} ticks in a row shortly before"
    assert run.disturbance == (expected if disturbed else "")
    # One that stayed up is a good run all the same.
    assert outcome(report(), flight_log(deadline_ns=deadline_ns)).disturbance == ""


@pytest.mark.parametrize("randomization", ["none", "table1", "beyond"])
def test_the_board_draws_the_plants_that_the_other_plants_draw(randomization):
    job = Evaluation(randomization=randomization, seconds=0.02, workers=0)
    evaluator = Evaluator(job)
    for index in (0, 7):
        params = drawn(randomization, job.seed_of(index))
        assert evaluator.run(index).params == dataclasses.asdict(params)
    evaluator.close()
    assert job.seed_of(0) != job.seed_of(7)


def test_ranges_that_there_are_not_are_named_with_those_that_there_are():
    with pytest.raises(ParameterError, match="'moon'; known: none, table1, beyond"):
        drawn("moon", 0)


@pytest.fixture
def scripted(monkeypatch):
    """Lets runs come to given ends; the seeds that they were asked with."""
    seeds = []

    def play(*ends):
        ends = list(ends)

        def run(policy, randomization, seed, seconds, course):
            assert course is None  # the trot takes no command
            seeds.append(seed)
            end = ends.pop(0)
            if isinstance(end, Exception):
                raise end
            cause, disturbance = end
            line = Line(100, 1, 500, 2, 0, 0, 0, 5000.0 + len(seeds))
            return BoardRun(cause, disturbance, seconds, 10.0, -1.0, 50.0, line)

        monkeypatch.setattr(evaluate_board, "run_on_board", run)
        return seeds

    return play


GOOD, FELL, STALE = ("", ""), ("tilt: 0.6 rad", ""), ("stale_state: 20 ms", "stale_state: 20 ms")


def test_a_disturbed_episode_is_tried_anew_and_told(scripted):
    refused = EvaluationError("the loop on the emulated board: port in use")
    seeds = scripted(STALE, GOOD, FELL, refused, STALE, STALE)
    job = Evaluation(plant=EMULATOR, episodes=3)
    good, fell, stale = results = list(evaluate(job))
    assert seeds == [job.seed_of(i) for i in (0, 0, 1, 2, 2, 2)]
    assert (good.survived, good.disturbed, good.disturbances) == (True, False, (STALE[0],))
    assert (fell.survived, fell.disturbed, fell.cause) == (False, False, FELL[0])
    assert (stale.survived, stale.disturbed, len(stale.disturbances)) == (False, True, 3)
    assert good.speed_mps == 0.5
    # 50 W / (7.473 kg * 9.81 m/s2 * 0.5 m/s)
    assert good.cost_of_transport == pytest.approx(1.364, abs=1e-3)
    summary = summarize(job, results)
    assert (summary["episodes"], summary["survived"], summary["disturbed"]) == (3, 1, 1)
    assert summary["causes"] == {"tilt": 1, "stale_state": 1}
    assert [fall["cause"] for fall in summary["falls"]] == [FELL[0], STALE[0]]
    assert summary["disturbances"] == {
        0: [STALE[0]],
        2: [str(refused), STALE[0], STALE[0]],
    }
    assert summary["line"]["states_lost"] == 6
    assert summary["line"]["round_trip_p99_us"] == 5006.0
    json.dumps(summary, allow_nan=False)


def test_a_loop_that_never_starts_is_an_error(scripted):
    scripted(*(EvaluationError(f"no board, {i}") for i in range(3)))
    with pytest.raises(EvaluationError, match="no board, 2"):
        list(evaluate(Evaluation(plant=EMULATOR, episodes=1)))


def test_real_time_takes_fewer_episodes():
    assert (Evaluation().count, Evaluation(plant=EMULATOR).count) == (100, 10)
    assert Evaluation(plant=EMULATOR, episodes=3).count == 3


@pytest.mark.parametrize(
    "change", [{"push": 60.0}, {"reference_only": True}, {"model": "minitaur"}]
)
def test_what_the_board_cannot_do_is_refused(change):
    with pytest.raises(EvaluationError, match="--push, --reference-only and --model need another"):
        next(evaluate(Evaluation(plant=EMULATOR, **change)))


def test_the_shipped_trot_over_a_real_line():
    """However busy this computer is: the run is good, or is known to be disturbed."""
    job = Evaluation(plant=EMULATOR, randomization="table1", episodes=1, seconds=1.0)
    results = list(evaluate(job))
    (result,) = results
    assert result.survived or result.disturbed
    expected = dataclasses.replace(drawn("table1", job.seed_of(0)), control_step_s=0.006)
    assert result.params == dataclasses.asdict(expected)
    summary = summarize(job, results)
    assert summary["plant"] == EMULATOR
    assert summary["line"]["states"] > 100
    if result.survived:
        assert result.seconds >= 1.0
        assert result.speed_mps > 0.3
        assert result.mean_power_w > 10.0
        assert summary["line"]["round_trip_p99_us"] > 0.0


def test_the_shipped_walk_follows_its_course_over_a_real_line():
    job = Evaluation(policy=Path("policies/steer.onnx"), plant=EMULATOR, episodes=1, seconds=2.0)
    summary = summarize(job, list(evaluate(job)))
    assert summary["course"] == "steer.csv"
    if not summary["disturbed"]:
        assert summary["survived"] == 1
        # Straight on: half a second of speeding up, then as told.
        assert summary["speed_mps"]["mean"] > 0.15
        assert summary["speed_error_mps"] < 0.2
        assert summary["yaw_rate_error_rad_s"] < 0.3


def test_a_loop_that_refuses_is_told_in_its_own_words():
    with pytest.raises(EvaluationError, match=r"unknown randomization 'moon'; known: none, table1"):
        run_on_board("policies/trot.onnx", "moon", 0, 1.0)


def test_a_loop_that_is_interrupted_is_no_result():
    with pytest.raises(EvaluationError, match="interrupted by a signal"):
        board_run._complete([sys.executable, "-c", "raise SystemExit(130)"])
