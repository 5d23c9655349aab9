"""The loop: its course, and that safe motors are its last word, whatever is raised."""

import dataclasses

import numpy as np
import pytest

from deploy.errors import ContractError
from deploy.loop.loop import COMMAND_LIFE_NS, START_PERIODS, ControlLoop
from deploy.loop.modes import Durations, LoopMode
from deploy.policy.contract import ObservationTerm
from deploy.policy.velocity_command import VelocityCommandSpec
from robot_firmware_bridge.errors import BridgeError, RobotFaultError
from robot_firmware_bridge.robot import MINITAUR

# Ticks of a whole run on the bench: standing up, RUN, FINISH, DAMP.
STAND_UP, RUN, FINISH, DAMP = 5, 10, 2, 3
WHOLE = STAND_UP + RUN + FINISH + DAMP


def modes(log):
    """Number of ticks in each mode."""
    return [int((log.mode == mode).sum()) for mode in LoopMode]


def test_a_whole_run_takes_its_course(bench):
    b = bench()
    b.loop.run()
    assert b.loop.faults == []
    assert modes(b.log) == [STAND_UP, RUN, FINISH, DAMP, 0]
    assert b.robot.events == ["activate", *["write"] * WHOLE, "deactivate"]
    assert all(command.valid_for_ns == COMMAND_LIFE_NS for command in b.robot.sent)


def test_the_policys_time_is_counted_in_whole_periods_from_nought(bench):
    b = bench()
    b.loop.run()
    np.testing.assert_array_equal(
        b.log.policy_t_s[b.log.run], [k * 6_000_000 * 1e-9 for k in range(RUN)]
    )


def test_gains_ramp_up_hold_and_leave_only_damping(bench, contract):
    b = bench()
    b.loop.run()
    kp = [command.kp for command in b.robot.sent]
    assert kp[0] == pytest.approx(0.2 * contract.kp)
    assert np.all(np.diff(kp[:STAND_UP]) >= 0.0)
    assert kp[STAND_UP : STAND_UP + RUN + FINISH] == [contract.kp] * (RUN + FINISH)
    assert kp[-DAMP:] == [0.0] * DAMP
    assert all(command.kd > 0.0 for command in b.robot.sent)


def test_the_first_target_is_the_measured_pose(bench):
    b = bench()
    b.robot.pose = np.linspace(1.8, 2.1, 8)
    b.loop.run()
    np.testing.assert_array_equal(b.robot.sent[0].target_rad, b.robot.pose)


@pytest.mark.parametrize("late", [1, START_PERIODS - 1])
def test_states_that_queued_up_before_the_start_are_read_past(bench, late):
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, t_ns=0) if n < late else state
    b.loop.run()
    assert modes(b.log) == [STAND_UP, RUN, FINISH, DAMP, 0]


def test_a_robot_whose_states_stay_old_is_never_armed(bench):
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, t_ns=0)
    b.loop.run()
    assert b.fault_names == ["stale_state"]
    assert b.robot.events == ["deactivate"]


def test_a_robot_that_sinks_while_it_is_armed_stands_up_from_where_it_is_then(bench):
    b = bench()
    arm = b.robot.activate

    def sink_and_arm():
        b.robot.pose = np.full(8, 1.5)
        b.clock.delay_ns(150_000_000)
        arm()

    b.robot.activate = sink_and_arm
    b.loop.run()
    np.testing.assert_array_equal(b.robot.sent[0].target_rad, np.full(8, 1.5))
    assert np.abs(np.diff([c.target_rad for c in b.robot.sent[:10]], axis=0)).max() < 0.1


def test_a_pose_that_cannot_be_true_after_arming_is_never_driven(bench):
    b = bench()
    wild = np.full(8, 9.0)
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, motor_position_rad=wild) if n == 1 else state
    )
    b.loop.run()
    assert b.fault_names == ["pose_out_of_range"]
    assert b.robot.events == ["activate", "deactivate"]


# ---- the last word ---------------------------------------------------------------------------


class BugError(Exception):
    """Stands for any bug."""


def raising(error):
    def act(*_):
        raise error

    return act


@pytest.mark.parametrize("error", [BugError(), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("where", ["activate", "reading", "writing", "policy", "sleep", "observer"])
def test_whatever_is_raised_wherever_the_motors_are_made_safe_last(bench, error, where):
    policy = raising(error) if where == "policy" else None
    b = bench(policy, observer=raising(error) if where == "observer" else None)
    if where == "activate":
        b.robot.activate = raising(error)
    elif where == "sleep":
        b.clock.sleep_until_ns = raising(error)
    elif where in ("reading", "writing"):
        setattr(b.robot, where, lambda n, state=None: raising(error)() if n == 7 else state)
    with pytest.raises(type(error)):
        b.loop.run()
    assert b.robot.events[-1] == "deactivate"


@pytest.mark.parametrize("where", ["reading", "writing"])
@pytest.mark.parametrize("tick", [0, 3, STAND_UP + 4, STAND_UP + RUN, WHOLE - 1])
def test_a_lost_robot_is_a_fault_and_made_safe(bench, where, tick):
    def lose(n, state=None):
        if n == tick:
            raise BridgeError("no answer")
        return state

    b = bench()
    setattr(b.robot, where, lose)
    b.loop.run()
    assert b.fault_names == ["robot_link"]
    assert b.loop.faults[0].detail == "robot_link: no answer"
    assert b.robot.events[-1] == "deactivate"


def test_a_robot_that_refuses_for_a_fault_of_its_own_is_named_so(bench):
    b = bench()
    b.robot.activate = raising(RobotFaultError("the robot is stopped by STALL: look for the cause"))
    b.loop.run()
    assert b.fault_names == ["robot_fault"]
    assert b.loop.faults[0].detail.startswith("robot_fault: the robot is stopped by STALL")
    assert b.robot.events == ["deactivate"]


def test_a_robot_that_cannot_be_armed_is_a_fault_and_made_safe(bench):
    b = bench()
    b.robot.activate = raising(BridgeError("not there"))
    b.loop.run()
    assert b.fault_names == ["robot_link"]
    assert b.robot.events == ["deactivate"]


@pytest.mark.parametrize(
    ("tick", "requests", "course"),
    [
        (2, 1, [3, 0, 0, DAMP, 0]),
        (STAND_UP + 3, 1, [STAND_UP, 4, FINISH, DAMP, 0]),
        (STAND_UP + 3, 2, [STAND_UP, 4, 1, DAMP, 0]),
        (STAND_UP + RUN, 1, [STAND_UP, RUN, FINISH, DAMP, 0]),
    ],
)
def test_a_requested_stop_is_gentle_and_a_second_one_prompt(bench, tick, requests, course):
    b = bench()

    def ask(n):
        if n == tick:
            for _ in range(requests):
                b.loop.request_stop()

    b.robot.writing = ask
    b.loop.run()
    assert modes(b.log) == course
    assert b.loop.interrupted
    assert b.loop.faults == []
    assert b.robot.events[-1] == "deactivate"


def test_a_dry_run_computes_everything_and_commands_nothing(bench):
    asked = []

    def policy(observation):
        asked.append(observation.copy())
        return np.zeros(8, np.float32)

    b = bench(policy, dry_run=True)
    b.loop.run()
    assert b.robot.events == ["deactivate"]
    assert len(asked) == RUN + FINISH
    assert modes(b.log) == [STAND_UP, RUN, FINISH, DAMP, 0]
    assert np.isfinite(b.log.target_rad).all()


def test_another_robots_policy_is_refused_before_anything_moves(bench):
    b = bench()
    other = dataclasses.replace(MINITAUR, name="someone else")

    class Other(type(b.robot)):
        pass

    robot = Other(b.clock)
    robot.description = other
    with pytest.raises(ContractError, match="robot_hash differs"):
        ControlLoop(robot, b.clock, b.controller, Durations(run_s=1.0))
    assert robot.events == []


def test_nothing_of_an_earlier_run_is_remembered(bench, contract):
    seen = []

    def policy(observation):
        seen.append(observation.copy())
        return np.full(8, 0.5, np.float32)

    b = bench(policy, dataclasses.replace(contract, observation=(ObservationTerm("last_action"),)))
    b.controller.targets(np.ones(8), 0.0)
    b.loop.run()
    assert seen[0].tolist() == [0.0] * 8
    assert seen[1].tolist() == [0.5] * 8


def test_the_observer_sees_every_tick(bench):
    seen = []
    b = bench(observer=seen.append)
    b.loop.run()
    assert [tick.ticks for tick in seen] == list(range(1, WHOLE + 1))
    assert seen[STAND_UP].mode is LoopMode.RUN
    assert seen[STAND_UP].elapsed_s == 0.0
    assert seen[0].base_position_m is None


def test_a_source_is_asked_while_the_policy_runs_and_what_comes_after_is_a_stop(bench, contract):
    terms = (*contract.observation, ObservationTerm("velocity_command"))
    spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 10.0, 10.0)
    asked = []

    class Source:
        def requested(self, t_s):
            asked.append(t_s)
            return 0.3, 0.2

    steered = dataclasses.replace(contract, observation=terms, velocity_command=spec)
    seen = []
    b = bench(
        contract=steered,
        commands=Source(),
        observer=lambda tick: seen.append(tick.velocity_command),
    )
    b.loop.run()
    np.testing.assert_array_equal(asked, b.log.policy_t_s[b.log.run])
    told = b.log.velocity_command[STAND_UP : STAND_UP + RUN + FINISH]
    np.testing.assert_allclose(told[:4, 0], [0.0, 0.06, 0.12, 0.18])
    np.testing.assert_allclose(told[RUN - 1], (0.3, 0.2))
    np.testing.assert_allclose(told[RUN:], [(0.24, 0.14), (0.18, 0.08)])
    np.testing.assert_array_equal(b.log.observation[STAND_UP + RUN - 1, 4:], np.float32((0.3, 0.2)))
    assert np.isnan(b.log.velocity_command[:STAND_UP]).all()
    assert all(command is not None for command in seen)
