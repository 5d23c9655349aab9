"""The worst commands of a dry run, against numbers worked out by hand."""

import dataclasses

import numpy as np
import pytest

from deploy.record.would_send import would_send


@pytest.fixture
def log(bench):
    """Two ticks of standing up, three of RUN with one missed before the last, one of damping."""
    b = bench()
    b.loop.run()
    six = {name: rows[:6] for name, rows in b.log.arrays().items()}
    target_rad = np.full((6, 8), 2.0)
    target_rad[:, 3] = [2.0, 2.006, 2.012, 2.048, 2.108, 9.0]
    return dataclasses.replace(
        b.log,
        **{
            **six,
            "deadline_ns": 1000 + np.array([0, 6, 12, 18, 30, 36]) * 1_000_000,
            "mode": np.array([0, 0, 1, 1, 1, 3], np.int8),
            "motor_position_rad": np.full((6, 8), 2.0) - 0.012 * np.eye(8)[7],
            "kp": np.array([0.2, 1.0, 1.0, 1.0, 1.0, 0.0]),
            "target_rad": target_rad,
        },
    )


def test_the_fastest_target_and_the_first_are_found(log):
    # 0.036 rad in 6 ms; the 0.060 rad after it have 12 ms, and a command that damps moves nothing.
    worst = would_send(log)
    assert worst.fastest_rad_s == pytest.approx(6.0)
    assert (worst.fastest_motor, worst.fastest_mode) == ("back_leftR", "run")
    assert worst.fastest_at_s == pytest.approx(0.006)
    assert worst.first_target_rad == pytest.approx(0.012)
    assert worst.first_target_motor == "back_rightR"
    assert worst.describe() == (
        "fastest 6.0 rad/s (back_leftR, 0.01 s into run); first target 0.01 rad from the measured "
        "pose (back_rightR)"
    )


def test_of_several_policies_it_is_said_which_and_when_that_one_began(log):
    # RUN of the first policy at 12 ms, a switch at 18 ms, RUN of the second from 30 ms on.
    switched = dataclasses.replace(
        log,
        also=(log.contract,),
        mode=np.array([0, 1, 5, 1, 1, 3], np.int8),
        policy=np.array([-1, 0, 0, 1, 1, -1], np.int8),
    )
    switched.target_rad[4, 3] = 9.0
    worst = would_send(switched)
    assert (worst.fastest_mode, worst.fastest_policy) == ("run", 2)
    assert worst.fastest_at_s == pytest.approx(0.012)
    assert "(back_leftR, 0.01 s into run of policy 2)" in worst.describe()
    switched.target_rad[0, 3] = 90.0
    assert would_send(switched).fastest_policy is None  # it stood up


def test_a_first_target_that_jumps_is_the_fastest(log):
    log.target_rad[0, 3] = 2.3
    worst = would_send(log)
    assert worst.fastest_rad_s == pytest.approx(0.3 / 0.006)
    assert (worst.fastest_mode, worst.fastest_at_s) == ("stand up", 0.0)
    assert worst.first_target_rad == pytest.approx(0.3)


def test_without_a_command_there_is_no_worst(log):
    assert would_send(dataclasses.replace(log, kp=np.zeros(6))) is None
