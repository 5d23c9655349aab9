"""The loop: course, pace and faults, and that safe motors come last, whatever is raised."""

import dataclasses
import math

import numpy as np
import pytest
from support.scripted_robot import VirtualClock

from deploy.errors import ContractError, PolicyError, RunError
from deploy.loop.loop import COMMAND_LIFE_NS, START_PERIODS, ControlLoop, next_deadline_ns
from deploy.loop.modes import Durations, LoopMode
from deploy.loop.safety import LOOK_STATES, TILT_TICKS
from deploy.policy.contract import ObservationTerm
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.steering import UNATTENDED, Steering
from robot_firmware_bridge.errors import BridgeError, RobotFaultError
from robot_firmware_bridge.messages import CommandLimits, Fault, Mode
from robot_firmware_bridge.robot import MINITAUR

MS = 1_000_000
PERIOD_NS = 6 * MS
# Ticks of a whole run, see the fixture: standing up, RUN, FINISH, DAMP.
STAND_UP, RUN, FINISH, DAMP = 5, 10, 2, 3
WHOLE = STAND_UP + RUN + FINISH + DAMP


def modes(log):
    """Number of ticks in each mode."""
    return [int((log.mode == mode).sum()) for mode in list(LoopMode)[:5]]


def test_a_whole_run_takes_its_course(bench):
    b = bench()
    b.loop.run()
    assert b.loop.faults == []
    assert modes(b.log) == [STAND_UP, RUN, FINISH, DAMP, 0]
    assert b.robot.events == ["activate", *["write"] * WHOLE, "deactivate"]
    assert all(command.valid_for_ns == COMMAND_LIFE_NS for command in b.robot.sent)


def test_the_policys_time_is_counted_in_whole_periods_from_zero(bench):
    b = bench()
    b.loop.run()
    times_s = b.log.policy_t_s[STAND_UP : STAND_UP + RUN + FINISH]
    np.testing.assert_array_equal(times_s, [k * PERIOD_NS * 1e-9 for k in range(RUN + FINISH)])


def test_gains_ramp_up_hold_and_leave_only_damping(bench, contract):
    b = bench()
    b.loop.run()
    kp = [command.kp for command in b.robot.sent]
    assert kp[0] == pytest.approx(0.2 * contract.kp)
    assert np.all(np.diff(kp[:STAND_UP]) >= 0.0)
    assert kp[STAND_UP : STAND_UP + RUN + FINISH] == [contract.kp] * (RUN + FINISH)
    assert kp[-DAMP:] == [0.0] * DAMP
    assert all(command.kd > 0.0 for command in b.robot.sent)


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
    arm, sunk = b.robot.activate, np.linspace(1.5, 1.8, 8)

    def sink_and_arm():
        b.robot.pose = sunk
        b.clock.delay_ns(150_000_000)
        arm()

    b.robot.activate = sink_and_arm
    b.loop.run()
    np.testing.assert_array_equal(b.robot.sent[0].target_rad, sunk)
    assert np.abs(np.diff([c.target_rad for c in b.robot.sent[:10]], axis=0)).max() < 0.1


def test_a_pose_that_cannot_be_true_after_arming_is_never_driven(bench):
    b = bench()
    wild = np.full(8, 9.0)
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, motor_position_rad=wild) if n == LOOK_STATES else state
    )
    b.loop.run()
    assert b.fault_names == ["pose_out_of_range"]
    assert b.robot.events == ["activate", "deactivate"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tilt", {"rpy_rad": np.array([math.pi / 2, 0.0, 0.0])}),  # it lies on its side
        ("tilt", {"rpy_rad": np.array([0.0, -0.6, 0.0])}),
        ("battery_low", {"battery_v": MINITAUR.min_battery_v - 0.1}),
    ],
)
def test_what_a_check_needs_several_states_for_is_seen_before_arming(bench, name, change):
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, **change)
    b.loop.run()
    assert b.fault_names == [name]
    assert b.robot.events == ["deactivate"]


def test_an_encoder_that_jumps_while_the_robot_is_limp_is_never_armed(bench):
    b = bench()
    slipped = MINITAUR.stance_pose_rad + 0.4 * np.eye(8)[5]
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, motor_position_rad=slipped) if n == 2 else state
    )
    b.loop.run()
    assert b.fault_names == ["encoder_jump"]
    assert b.robot.events == ["deactivate"]


@pytest.mark.parametrize("number", range(LOOK_STATES))
def test_one_glitch_of_the_imu_does_not_refuse_a_robot(bench, number):
    b = bench()
    lying = np.array([math.pi / 2, 0.0, 0.0])
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, rpy_rad=lying) if n == number else state
    )
    b.loop.run()
    assert b.loop.faults == []


def test_the_same_state_again_is_no_second_look(bench):
    """A link that repeats one state of a robot that lies may not have it armed."""
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, t_ns=1_000_000_000)
    b.loop.run()
    assert b.fault_names == ["stale_state"]
    assert b.robot.events == ["deactivate"]


# ---- safe motors last --------------------------------------------------------------------------


class BugError(Exception):
    """Stands for any bug."""


def raising(error):
    def act(*_):
        raise error

    return act


PLACES = ["activate", "reading", "writing", "policy", "sleep", "observer"]


def broken_bench(bench, error, where):
    """Builds a loop that raises the error there."""
    policy = raising(error) if where == "policy" else None
    b = bench(policy, observers=[raising(error)] if where == "observer" else ())
    if where == "activate":
        b.robot.activate = raising(error)
    elif where == "sleep":
        b.clock.sleep_until_ns = raising(error)
    elif where in ("reading", "writing"):
        setattr(b.robot, where, lambda n, state=None: raising(error)() if n == 7 else state)
    return b


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("where", PLACES)
def test_a_request_to_exit_is_raised_after_the_motors_are_made_safe(bench, error, where):
    b = broken_bench(bench, error, where)
    with pytest.raises(type(error)):
        b.loop.run()
    assert b.robot.events[-1] == "deactivate"
    assert b.loop.crash is None


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (BugError("two\nlines"), "BugError two lines: a bug, report it with its traceback"),
        (MemoryError(), "MemoryError: close other programs"),
    ],
)
def test_an_error_of_any_kind_is_a_named_fault_of_one_line(bench, error, detail, where):
    b = broken_bench(bench, error, where)
    b.loop.run()
    assert b.fault_names == ["internal_error"]
    assert b.loop.faults[0].detail == f"internal_error: {detail}"
    assert b.loop.crash is error
    assert b.robot.events[-1] == "deactivate"


def test_a_robot_that_cannot_be_disarmed_keeps_the_faults_before(bench):
    def policy(observation):
        raise PolicyError("no output")

    b = bench(policy)
    b.robot.deactivate = raising(BugError("dead"))
    b.loop.run()
    assert b.fault_names == ["policy_error", "internal_error"]
    assert "BugError dead: the robot could not be disarmed, cut its power" in b.details


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


@pytest.mark.parametrize(
    ("error", "name"),
    [(BridgeError("not there"), "robot_link"), (RobotFaultError("by STALL"), "robot_fault")],
)
def test_a_robot_that_cannot_be_armed_is_a_fault_and_made_safe(bench, error, name):
    b = bench()
    b.robot.activate = raising(error)
    b.loop.run()
    assert b.fault_names == [name]
    assert b.loop.faults[0].detail == f"{name}: {error}"
    assert b.robot.events == ["deactivate"]


@pytest.mark.parametrize(
    ("tick", "requests", "course"),
    [
        (2, 1, [3, 0, 0, DAMP, 0]),
        (STAND_UP + 3, 1, [STAND_UP, 4, FINISH, DAMP, 0]),
        (STAND_UP + 3, 2, [STAND_UP, 4, 1, DAMP, 0]),
        (STAND_UP + RUN, 1, [STAND_UP, RUN, FINISH, DAMP, 0]),
        (STAND_UP + RUN, 2, [STAND_UP, RUN, 1, DAMP, 0]),
    ],
)
def test_a_requested_stop_is_gentle_and_a_second_one_prompt(bench, tick, requests, course):
    b = bench()

    def request(n):
        if n == tick:
            for _ in range(requests):
                b.loop.request_stop()

    b.robot.writing = request
    b.loop.run()
    assert modes(b.log) == course
    assert b.loop.interrupted
    assert b.loop.faults == []
    assert b.robot.events[-1] == "deactivate"


class Steers:
    """Steers as it is told from the first moment on."""

    instructions = None

    def __init__(self, steering):
        self._steering = steering

    def poll(self):
        return self._steering

    def requested(self, t_s):
        return STOP


@pytest.mark.parametrize("steering", [Steering(stops=1), Steering(lost="the pad is gone")])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_robot_is_not_armed_once_a_stop_is_asked_for(bench, steering, dry_run):
    b = bench(commands=Steers(steering), dry_run=dry_run)
    b.loop.run()
    assert b.robot.events == ["deactivate"]
    assert (len(b.log), b.loop.faults) == (0, [])
    assert b.loop.interrupted
    assert b.loop.steering_lost == steering.lost


def test_a_robot_is_not_armed_after_a_signal(bench):
    b = bench()
    b.loop.request_stop()
    b.loop.run()
    assert b.robot.events == ["deactivate"]
    assert (len(b.log), b.loop.faults) == (0, [])
    assert b.loop.interrupted


def test_a_signal_while_the_robot_is_looked_at_leaves_it_limp(bench):
    b = bench()

    def reading(number, state):
        if number == 1:
            b.loop.request_stop()
        return state

    b.robot.reading = reading
    b.loop.run()
    assert b.robot.events == ["deactivate"]
    assert b.loop.interrupted


def test_a_dry_run_computes_everything_and_commands_nothing(bench):
    seen = []

    def policy(observation):
        seen.append(observation.copy())
        return np.zeros(8, np.float32)

    b = bench(policy, dry_run=True)
    b.loop.run()
    assert b.robot.events == ["deactivate"]
    assert len(seen) == RUN + FINISH
    assert modes(b.log) == [STAND_UP, RUN, FINISH, DAMP, 0]
    assert np.isfinite(b.log.target_rad).all()
    assert b.log.dry_run


def test_another_robots_policy_is_refused_before_anything_moves(bench):
    b = bench()
    b.robot.description = dataclasses.replace(MINITAUR, name="someone else")
    with pytest.raises(ContractError, match="robot_hash differs"):
        ControlLoop(b.robot, b.clock, b.controller, Durations(run_s=1.0))
    assert b.robot.events == []


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
    b = bench(observers=[seen.append])
    b.loop.run()
    assert [tick.ticks for tick in seen] == list(range(1, WHOLE + 1))
    assert seen[STAND_UP].mode is LoopMode.RUN
    assert seen[STAND_UP].elapsed_s == 0.0
    assert seen[STAND_UP + 1].elapsed_s == seen[STAND_UP + RUN + 1].elapsed_s == 0.006
    assert seen[0].base_position_m is None


def test_commands_are_read_while_the_policy_runs_and_what_comes_after_is_a_stop(bench, contract):
    terms = (*contract.observation, ObservationTerm("velocity_command"))
    spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 10.0, 10.0)
    times_s = []

    class Source:
        def poll(self):
            return UNATTENDED

        def requested(self, t_s):
            times_s.append(t_s)
            return 0.3, 0.2

    steered = dataclasses.replace(contract, observation=terms, velocity_command=spec)
    seen = []
    b = bench(contract=steered, commands=Source(), observers=[seen.append])
    b.loop.run()
    np.testing.assert_array_equal(times_s, b.log.policy_t_s[b.log.run])
    followed = b.log.velocity_command[STAND_UP : STAND_UP + RUN + FINISH]
    np.testing.assert_allclose(followed[:4, 0], [0.0, 0.06, 0.12, 0.18])
    np.testing.assert_allclose(followed[RUN - 1], (0.3, 0.2))
    np.testing.assert_allclose(followed[RUN:], [(0.24, 0.14), (0.18, 0.08)])
    np.testing.assert_array_equal(b.log.observation[STAND_UP + RUN - 1, 4:], np.float32((0.3, 0.2)))
    assert np.isnan(b.log.velocity_command[:STAND_UP]).all()
    assert all(tick.velocity_command is not None for tick in seen)


# ---- faults: from that very tick on the loop only damps, and then lets go ------------------------


def damped_and_released(b, ticks_before):
    """Commands up to a tick drive the motors, from it on they only damp, and then it is over."""
    kp = [command.kp for command in b.robot.sent]
    assert len(kp) == ticks_before + DAMP
    assert min(kp[:ticks_before], default=1.0) > 0.0
    assert kp[ticks_before:] == [0.0] * DAMP
    assert all(command.kd > 0.0 for command in b.robot.sent[ticks_before:])
    assert b.robot.events[-1] == "deactivate"


def test_a_policy_that_yields_nan_damps_in_that_very_tick(bench):
    calls = []

    def policy(observation):
        calls.append(1)
        return np.full(8, np.nan if len(calls) == 4 else 0.0, np.float32)

    b = bench(policy)
    b.loop.run()
    assert b.fault_names == ["non_finite_action"]
    damped_and_released(b, STAND_UP + 3)
    assert len(calls) == 4  # it is not called again
    assert np.isnan(b.log.action[STAND_UP + 3]).all()


def test_a_policy_that_fails_damps_in_that_very_tick(bench):
    def policy(observation):
        raise PolicyError("inference failed: out of memory")

    b = bench(policy)
    b.loop.run()
    assert b.fault_names == ["policy_error"]
    assert b.loop.faults[0].detail == "policy_error: inference failed: out of memory"
    damped_and_released(b, STAND_UP)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("non_finite_state", {"rpy_rad": np.array([math.nan, 0.0, 0.0])}),
        ("robot_fault", {"fault": Fault.OVERHEAT}),
        ("robot_mode", {"mode": Mode.DAMPING}),
        ("stale_state", {"t_ns": 0}),
    ],
)
@pytest.mark.parametrize("tick", [1, STAND_UP + 3, STAND_UP + RUN + 1])
def test_a_bad_state_damps_whatever_the_mode(bench, name, change, tick):
    b = bench()
    since = LOOK_STATES + tick  # the readings before arming are the first
    b.robot.reading = lambda n, state: dataclasses.replace(state, **change) if n >= since else state
    b.loop.run()
    assert b.fault_names == [name]
    damped_and_released(b, tick)


def test_a_fall_damps(bench):
    b = bench()
    fallen = np.array([0.6, 0.0, 0.0])
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, rpy_rad=fallen) if n >= LOOK_STATES + STAND_UP else state
    )
    b.loop.run()
    assert b.fault_names == ["tilt"]
    damped_and_released(b, STAND_UP + TILT_TICKS - 1)


def test_an_observation_that_overflows_damps(bench, contract):
    terms = (dataclasses.replace(contract.observation[0], scale=1e300),)
    b = bench(contract=dataclasses.replace(contract, observation=terms))
    tilt = np.array([1e-3, 0.0, 0.0])
    b.robot.reading = lambda n, state: dataclasses.replace(state, rpy_rad=tilt)
    with np.errstate(over="ignore"):
        b.loop.run()
    assert b.fault_names == ["non_finite_observation"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("robot_fault", {"fault": Fault.UNDERVOLTAGE}),
        ("non_finite_state", {"battery_v": math.nan}),
        ("pose_out_of_range", {"motor_position_rad": np.full(8, 9.0)}),
    ],
)
def test_a_robot_unfit_to_move_is_never_armed(bench, name, change):
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, **change)
    b.loop.run()
    assert b.fault_names == [name]
    assert b.robot.events == ["deactivate"]


def test_a_jump_of_the_policy_is_slowed_from_what_was_really_sent(bench, contract):
    far = dataclasses.replace(contract.action, scale_rad=(0.0,) * 4 + (0.8,) * 4)
    b = bench(lambda observation: np.ones(8, np.float32), dataclasses.replace(contract, action=far))
    b.loop.run()
    targets = b.log.target_rad[b.log.run][:, 0]
    np.testing.assert_allclose(targets[:2], [2.6, 2.8])
    assert b.loop.saturations.rate_limited == 1


def test_what_the_robot_reports_while_it_damps_is_a_fault_too(bench):
    """A host that had no turn sees an old state first; the watchdog's bite shows a tick later."""
    b = bench()
    since = LOOK_STATES + STAND_UP
    b.robot.reading = lambda n, state: (
        state
        if n < since
        else dataclasses.replace(state, t_ns=0)
        if n == since
        else dataclasses.replace(state, fault=Fault.COMMAND_TIMEOUT)
    )
    b.loop.run()
    assert b.fault_names == ["stale_state", "robot_fault"]
    assert "while damping, the motor controller reports COMMAND_TIMEOUT" in b.details
    damped_and_released(b, STAND_UP)


def test_a_fault_at_the_very_end_of_a_good_run_is_in_its_report(bench):
    b = bench()
    since = LOOK_STATES + WHOLE - 1
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, fault=Fault.OVERHEAT) if n >= since else state
    )
    b.loop.run()
    assert b.fault_names == ["robot_fault"]


# ---- a late computer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"fault": Fault.COMMAND_TIMEOUT}, "robot_fault"),
        ({"mode": Mode.DAMPING}, "robot_mode"),
        ({"t_ns": 0}, "stale_state"),
    ],
)
@pytest.mark.parametrize("late_ms", [0, 94])
def test_a_stop_that_this_computer_caused_says_so(bench, change, name, late_ms):
    b = bench()
    slow = STAND_UP + 2
    b.robot.writing = lambda n: b.clock.delay_ns((6 + late_ms) * MS) if n == slow else None
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, **change) if n > LOOK_STATES + slow else state
    )
    b.loop.run()
    assert b.fault_names[0] == name
    blamed = "this computer was late by 96 ms" in b.loop.faults[0].detail  # to the next deadline
    assert blamed is (late_ms > 0)


def test_a_stall_while_the_robot_damps_at_the_end_says_so_too(bench):
    durations = Durations(run_s=0.060, stand_up_s=0.030, finish_s=0.012, damp_s=0.5)
    b = bench(durations=durations)
    late = WHOLE - DAMP + 1
    b.robot.writing = lambda n: b.clock.delay_ns(100 * MS) if n == late else None
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, fault=Fault.COMMAND_TIMEOUT) if n > LOOK_STATES + late else state
    )
    b.loop.run()
    assert b.fault_names == ["robot_fault"]
    assert "COMMAND_TIMEOUT; this computer was late by 96 ms" in b.details


def test_a_fault_of_the_robot_is_not_laid_to_a_late_computer(bench):
    b = bench()
    b.robot.writing = lambda n: b.clock.delay_ns(100 * MS) if n == STAND_UP else None
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, fault=Fault.STALL) if n > LOOK_STATES + STAND_UP else state
    )
    b.loop.run()
    assert b.loop.faults[0].detail == "robot_fault: the motor controller reports STALL"


@pytest.mark.parametrize("mode", [LoopMode.STAND_UP, LoopMode.RUN, LoopMode.FINISH])
def test_a_loop_that_misses_most_of_its_ticks_is_stopped(bench, mode):
    """66 ms for each tick of 6 ms, as in one with a slow network: 10 of 11 are missed."""

    def slow(tick):
        if tick.mode is mode:
            b.clock.delay_ns(66 * MS)

    b = bench(durations=Durations(2.0, stand_up_s=2.0, finish_s=2.0, damp_s=0.1), observers=[slow])
    b.loop.run()
    assert b.fault_names == ["overruns"]
    assert "close other programs" in b.loop.faults[0].detail
    late_s = (b.log.mode == mode).sum() * 0.066
    assert late_s < 0.7
    assert b.robot.sent[-1].kp == 0.0
    assert b.robot.events[-1] == "deactivate"


# ---- pace, to the nanosecond, on a clock that passes only when it is moved -----------------------


@pytest.mark.parametrize(
    ("now_ms", "next_ms"),
    [(0.2, 6), (5.9, 6), (6, 6), (6.001, 12), (12, 12), (20, 24), (600.5, 606)],
)
def test_next_deadline(now_ms, next_ms):
    assert next_deadline_ns(0, PERIOD_NS, round(now_ms * MS)) == next_ms * MS


def test_on_time_every_deadline_is_a_period_after_the_one_before(bench):
    b = bench()
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {PERIOD_NS}
    assert (b.log.woke_ns == b.log.deadline_ns).all()
    assert not b.log.missed.any()


def test_missed_ticks_are_skipped_counted_and_never_caught_up(bench):
    b = bench()
    slow = STAND_UP + 2  # the third tick of RUN takes 20 ms: 6, 12 and 18 ms later are missed
    b.robot.writing = lambda n: b.clock.delay_ns(20 * MS) if n == slow else None
    b.loop.run()
    log = b.log
    assert log.missed.tolist() == [3 if n == slow else 0 for n in range(len(log) - 1)]
    assert (log.woke_ns == log.deadline_ns).all()
    # The policy's time goes on with the world's: 12 ms, then 36 ms; RUN still lasts 60 ms.
    assert log.policy_t_s[log.run].tolist() == pytest.approx(
        [0.0, 0.006, 0.012, 0.036, 0.042, 0.048, 0.054]
    )
    assert modes(log) == [STAND_UP, RUN - 3, FINISH, DAMP, 0]


def test_work_that_takes_a_little_too_long_halves_the_rate_but_keeps_the_grid(bench):
    b = bench()
    b.robot.writing = lambda n: b.clock.delay_ns(6 * MS + 1)
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {2 * PERIOD_NS}
    assert set(b.log.missed) == {1}


class LateClock(VirtualClock):
    """Oversleeps once."""

    def __init__(self, now_ns, sleep, late_ns):
        super().__init__(now_ns)
        self.sleeps, self.sleep, self.late_ns = 0, sleep, late_ns

    def sleep_until_ns(self, deadline_ns):
        super().sleep_until_ns(deadline_ns)
        if self.sleeps == self.sleep:
            self.delay_ns(self.late_ns)
        self.sleeps += 1


@pytest.mark.parametrize(("late_ms", "policy_ms", "missed"), [(2, 12, 0), (7, 18, 1), (13, 24, 2)])
def test_a_late_wake_up_is_measured_and_the_policy_gets_the_right_time(
    bench, late_ms, policy_ms, missed
):
    b = bench()
    clock = LateClock(0, LOOK_STATES - 1 + STAND_UP + 2, late_ms * MS)
    b.loop._clock = b.robot.clock = clock
    b.loop.run()
    log = b.log
    jitter = (log.woke_ns - log.deadline_ns)[log.run]
    assert jitter[2] == late_ms * MS
    assert jitter.sum() == late_ms * MS
    assert log.policy_t_s[log.run][2] == pytest.approx(policy_ms / 1e3)
    assert log.missed[log.run].sum() == missed


def test_another_period_may_be_requested(bench):
    b = bench(period_s=0.010)
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {10 * MS}
    assert modes(b.log) == [3, 6, 2, 2, 0]


def test_a_period_that_commands_would_not_outlast_is_refused(bench):
    bench(period_s=0.040)
    with pytest.raises(RunError, match="too long"):
        bench(period_s=0.041)


# ---- what the motor controller carries out -------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "said"),
    [({"kp": 100.0}, "contract.kp is 100, .* 4 at most"), ({"kd": 0.2}, "contract.kd is 0.2, ")],
)
def test_gains_that_the_robot_would_cut_are_refused_before_anything_moves(
    bench, contract, gains, said
):
    with pytest.raises(RunError, match=said):
        bench(contract=dataclasses.replace(contract, **gains))


@pytest.mark.parametrize(
    ("of", "on", "such"), [("core", "stock", "steer-stock"), ("stock", "core", "walk")]
)
def test_a_policy_for_another_board_is_refused_and_one_that_fits_is_named(
    bench, contract, of, on, such
):
    limits = CommandLimits(4.0, 0.1, 200 * MS, board=on)
    policy = dataclasses.replace(contract, board=of)
    with pytest.raises(RunError, match=f"contract.board is {of}, .* is {on}: .*such as {such}"):
        bench(contract=policy, limits=limits)
    bench(contract=dataclasses.replace(contract, board=on), limits=limits)


def test_a_board_of_somebody_else_has_no_policy_that_ships(bench):
    with pytest.raises(RunError, match=r"controller is mine: .* trained for mine$"):
        bench(limits=CommandLimits(4.0, 0.1, 200 * MS, board="mine"))


def test_gains_at_the_robots_limit_are_taken_though_the_wire_rounds_them(bench, contract):
    limits = CommandLimits(kp=4.0, kd=float(np.float32(0.03)), valid_for_ns=200 * MS)
    b = bench(contract=dataclasses.replace(contract, kp=4.0, kd=0.03), limits=limits)
    b.loop.run()
    assert b.loop.faults == []


def test_a_robot_with_shorter_lived_commands_gets_them(bench):
    b = bench(limits=CommandLimits(4.0, 0.1, 50 * MS))
    b.loop.run()
    assert {command.valid_for_ns for command in b.robot.sent} == {50 * MS}
    with pytest.raises(RunError, match=r"a command lives 0.01 s"):
        bench(limits=CommandLimits(4.0, 0.1, 10 * MS))
