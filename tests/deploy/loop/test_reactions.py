"""Signals, levels and reactions: each threshold both ways, no chatter, the worst one wins."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.states import standing

from deploy.command_sources import constant
from deploy.errors import RunError, SafetyStop
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations, LoopMode
from deploy.loop.reactions import (
    DEFAULT_RULES,
    LATE_PERIODS,
    MOST_EVENTS,
    NO_REACTIONS,
    SIGNALS,
    Level,
    Reactions,
    Rule,
    read_rules,
    table,
)
from deploy.loop.safety import LOOK_STATES, STOPS
from deploy.policy.contract import ObservationTerm
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.velocity_command import VelocityCommandSpec
from deploy.steering import Steering
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.bullet import BulletEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant, control_ticks
from sim.plant.randomization import drawn
from sim.robot import SimClock, SimRobot

DEPLOY = Path(__file__).parents[3] / "deploy"
PERIOD_S = 0.006
PERIOD_NS = 6_000_000
COOL = np.full(8, 25.0)
LEVELS = (Level.WARN, Level.SLOW, Level.SIT, Level.DAMP)
# Every level of every signal, in its unit: battery, winding and pace are read off directly.
FOUR = {
    "battery": Rule(14.0, 13.5, 13.0, 12.8, clear_by=0.2, lasts_s=0.3, clears_s=0.6),
    "winding": Rule(80.0, 90.0, 100.0, 110.0, clear_by=5.0, lasts_s=0.3, clears_s=0.6),
    "pace": Rule(0.1, 0.2, 0.3, 0.4, clear_by=0.05, lasts_s=0.3, clears_s=0.6),
}


class Fed:
    """Reactions that are fed a healthy robot's states, with one signal as asked."""

    def __init__(self, period_s=PERIOD_S, **rules):
        self.period_s = period_s
        self.reactions = Reactions(dataclasses.replace(DEFAULT_RULES, **rules))
        self.now_ns = 0

    def feed(self, signal, value, seconds):
        """Tick for a time; return the level."""
        fields = {"winding_temperature_c": COOL}
        if signal == "battery":
            fields["battery_v"] = value
        if signal == "winding":
            fields["winding_temperature_c"] = COOL + (value - 25.0) * np.eye(8)[5]
        if signal == "stall":
            fields["motor_torque_nm"] = value * np.eye(8)[2]
        late_ns = round(value * PERIOD_NS) if signal == "link" else 0
        level = self.reactions.level
        for _ in range(round(seconds / self.period_s)):
            state = standing(t_ns=self.now_ns - late_ns, **fields)
            level = self.reactions.update(state, self.now_ns, value if signal == "pace" else 0.0)
            self.now_ns += round(self.period_s * 1e9)
        return level

    @property
    def events(self):
        return [(event.signal, event.level) for event in self.reactions.events]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("signal", FOUR)
def test_each_threshold_is_crossed_there_and_back(signal, level):
    rule = FOUR[signal]
    worse = -1e-6 if signal == "battery" else 1e-6
    past = dict(rule.thresholds)[level] + worse
    fed = Fed(**{signal: rule})
    assert fed.feed(signal, past, 0.288) is Level.NONE  # lasts_s is 0.3 s
    assert fed.feed(signal, past, 0.024) is level
    # Back, but not by the margin: for ever.
    near = past - np.sign(worse) * 0.9 * rule.clear_by
    assert fed.feed(signal, near, 8.0) is level
    far = past - np.sign(worse) * 4.0 * rule.clear_by
    fed.feed(signal, far, 4.0)
    assert fed.reactions.level < level
    assert fed.feed(signal, 20.0 if signal == "battery" else 0.0, 5.0) is Level.NONE
    assert fed.reactions.events[0].level == level.word
    assert "bound" in fed.reactions.events[0].detail
    assert fed.reactions.events[-1].level == "none"
    assert fed.reactions.label == ""


def test_a_level_is_left_only_after_a_while():
    fed = Fed(**FOUR)
    fed.feed("winding", 101.0, 0.5)
    assert fed.feed("winding", 30.0, 0.588) is Level.SIT  # clears_s is 0.6 s
    assert fed.feed("winding", 101.0, 0.1) is Level.SIT  # which begins anew
    assert fed.feed("winding", 30.0, 0.588) is Level.SIT
    assert fed.feed("winding", 30.0, 0.024) is Level.NONE
    assert fed.events == [("winding", "sit"), ("winding", "none")]


@given(st.lists(st.floats(0.1001, 0.1999), min_size=1, max_size=300))
def test_a_signal_that_dithers_within_the_margin_changes_its_level_once_at_most(shares):
    rule = Rule(warn=0.15, clear_by=0.05)  # no delay helps: the margin alone
    fed = Fed(pace=rule)
    for share in shares:
        fed.feed("pace", share, PERIOD_S)
    assert fed.events == ([("pace", "warn")] if max(shares) >= 0.15 else [])


@given(st.lists(st.sampled_from([0.0, 0.05, 0.12, 0.25, 0.5]), min_size=1, max_size=400))
def test_no_signal_changes_its_level_faster_than_its_times(shares):
    fed = Fed(pace=Rule(0.1, 0.2, 0.3, clear_by=0.02, lasts_s=0.06, clears_s=0.12))
    for share in shares:
        fed.feed("pace", share, PERIOD_S)
    for level in ("warn", "slow", "sit"):
        rises = [e.t_ns for e in fed.reactions.events if e.level == level]
        assert np.all(np.diff(rises) >= 60_000_000)


def test_the_most_severe_of_all_signals_holds_and_names_the_stop():
    fed = Fed(**FOUR)
    assert fed.feed("winding", 85.0, 0.6) is Level.WARN
    hot = standing(winding_temperature_c=COOL + 60.0)
    for share, level in ((0.35, Level.SIT), (0.22, Level.SIT), (0.0, Level.WARN)):
        for _ in range(130):
            fed.now_ns += PERIOD_NS
            fed.reactions.update(dataclasses.replace(hot, t_ns=fed.now_ns), fed.now_ns, share)
        assert fed.reactions.level is (Level.SLOW if share == 0.22 else level)
        if share == 0.35:
            stop = fed.reactions.stop()
            assert stop.name == "pace_sit"
            assert str(stop).startswith("pace_sit: 35%, bound 30%: close other programs")
            assert fed.reactions.label == "winding warn, pace sit"


def test_a_battery_that_sags_at_every_step_is_judged_by_its_mean():
    fed = Fed(**FOUR)
    fed.feed("battery", 16.0, 0.006)  # at rest
    for _ in range(60):
        fed.feed("battery", 12.0, 0.024)
        fed.feed("battery", 16.0, 0.096)
    assert fed.events == []  # 15.2 V in the mean
    for _ in range(60):
        fed.feed("battery", 12.0, 0.072)
        fed.feed("battery", 15.0, 0.048)
    assert fed.reactions.level is Level.SLOW  # 13.2 V


def test_a_motor_that_pushes_and_hardly_turns_sits_before_the_board_stops_it():
    strong = LIMITS.overload_torque_nm + 0.01
    fed = Fed()
    assert fed.feed("stall", strong, 0.24) is Level.NONE
    assert fed.feed("stall", strong, 0.03) is Level.WARN
    assert fed.feed("stall", strong, 0.25) is Level.SIT
    assert LIMITS.stall_ms > 520
    assert "motor back_leftL: 0.50 s, bound 0.50 s" in fed.reactions.events[-1].detail
    fed.feed("stall", 0.0, 1.1)
    assert fed.events == [("stall", "warn"), ("stall", "sit"), ("stall", "none")]
    fed = Fed()
    for _ in range(20):  # steps, hard ones
        fed.feed("stall", strong, 0.2)
        fed.feed("stall", 0.5, 0.05)
    assert fed.events == []


def test_a_motor_that_turns_is_not_stalled():
    fed = Fed()
    for _ in range(300):
        state = standing(
            t_ns=fed.now_ns,
            motor_torque_nm=np.full(8, 3.0),
            motor_velocity_rad_s=np.full(8, -LIMITS.stall_speed_rad_s),
            winding_temperature_c=COOL,
        )
        fed.reactions.update(state, fed.now_ns, 0.0)
        fed.now_ns += PERIOD_NS
    assert fed.events == []


@pytest.mark.parametrize(
    ("late", "of", "level"),
    [(1, 10, Level.NONE), (3, 10, Level.WARN), (5, 10, Level.SLOW), (7, 10, Level.SIT)],
)
def test_a_line_is_judged_by_the_share_of_states_that_are_late(late, of, level):
    fed = Fed()
    for _ in range(100):
        fed.feed("link", LATE_PERIODS + 0.1, late * PERIOD_S)
        fed.feed("link", LATE_PERIODS, (of - late) * PERIOD_S)
    assert fed.reactions.level is level
    fed.feed("link", 0.0, 6.0)
    assert fed.reactions.level is Level.NONE


def test_a_slow_line_may_be_as_late_as_it_is():
    reactions = Reactions(state_delay_ns=20_000_000)
    for tick in range(1000):
        now_ns = tick * PERIOD_NS
        reactions.update(standing(t_ns=now_ns - 32_000_000), now_ns, 0.0)
    assert reactions.level is Level.NONE


def test_a_board_that_reports_no_temperature_gets_the_hosts_estimate():
    # 2.45 Nm is 30 A, 167 W: adiabatic 2.8 K/s, and a third less after some ten seconds.
    reactions = Reactions()
    for tick in range(round(60.0 / PERIOD_S)):
        turning = np.full(8, 5.0)
        state = standing(
            t_ns=tick * PERIOD_NS,
            motor_torque_nm=2.45 * np.eye(8)[7],
            motor_velocity_rad_s=turning,
        )
        reactions.update(state, tick * PERIOD_NS, 0.0)
        if reactions.level is Level.SIT:
            break
    assert [(event.signal, event.level) for event in reactions.events] == [
        ("winding", "warn"), ("winding", "slow"), ("winding", "sit"),
    ]  # fmt: skip
    assert 30.0 < tick * PERIOD_S < 60.0
    assert "motor back_rightR: " in reactions.events[0].detail


def test_sit_comes_before_the_board_overheats_under_every_steady_heat():
    sit = DEFAULT_RULES.winding.sit
    for heat_w in np.linspace(56.0, 600.0, 50):
        winding_c = housing_c = LIMITS.ambient_c
        while winding_c < sit:
            assert housing_c < LIMITS.max_housing_c
            inner_w = (winding_c - housing_c) / LIMITS.winding_k_per_w
            outer_w = (housing_c - LIMITS.ambient_c) / LIMITS.housing_k_per_w
            winding_c += 0.05 * (heat_w - inner_w) / LIMITS.winding_j_per_k
            housing_c += 0.05 * (inner_w - outer_w) / LIMITS.housing_j_per_k
    assert sit < LIMITS.max_winding_c


def test_events_are_bounded():
    fed = Fed(pace=Rule(warn=0.1, clear_by=0.05))
    for _ in range(MOST_EVENTS):
        fed.feed("pace", 0.2, PERIOD_S)
        fed.feed("pace", 0.0, PERIOD_S)
    assert len(fed.events) == MOST_EVENTS


# --------------------------------------------------------------------------------- in the loop

LONG = Durations(run_s=6.0, stand_up_s=0.3, finish_s=0.3, damp_s=0.1)


def drained(number_of_tick, volts):
    """A script of readings whose battery has these volts from a tick on."""
    return lambda n, state: (
        dataclasses.replace(state, battery_v=volts) if n >= number_of_tick else state
    )


@pytest.fixture
def steered(contract):
    return dataclasses.replace(
        contract,
        observation=(*contract.observation, ObservationTerm("velocity_command")),
        velocity_command=VelocityCommandSpec((0.0, 0.8), (-0.5, 0.5), 0.8, 1.0),
    )


def test_slow_halves_the_request_within_the_contracts_slew(bench, steered):
    b = bench(contract=steered, durations=LONG, commands=constant(0.8, 0.4))
    b.robot.reading = drained(300, 13.2)
    b.loop.run()
    assert b.loop.faults == []
    command = b.log.velocity_command[b.log.run]
    assert command[200].tolist() == [0.8, 0.4]
    np.testing.assert_allclose(command[-1], [0.4, 0.2], atol=1e-12)
    assert np.abs(np.diff(command[:, 0])).max() <= 0.8 * PERIOD_S + 1e-12
    assert [event.level for event in b.log.events] == ["warn", "slow"]
    assert "cannot be steered" not in b.log.events[-1].detail


def test_a_policy_that_cannot_be_steered_is_not_slowed_and_the_event_says_so(bench):
    b = bench(durations=LONG)
    b.robot.reading = drained(300, 13.2)
    b.loop.run()
    assert b.loop.faults == []
    assert "this policy cannot be steered, so it is not slowed" in b.log.events[-1].detail


class Choice:
    """Chooses a policy from a tick on, and asks for full speed."""

    instructions = None

    def __init__(self, tick, choice):
        self._left, self._choice = tick + 1, choice  # the loop asks once before it arms

    def poll(self):
        self._left -= 1
        return Steering(choice=self._choice if self._left < 0 else 0)

    def requested(self, t_s):
        return 0.8, 0.4


@pytest.mark.parametrize(("drained_at", "chosen_at", "events"), [(100, 800, 3), (400, 500, 2)])
def test_that_a_policy_is_not_slowed_is_said_of_the_policy_at_work(
    bench, contract, steered, drained_at, chosen_at, events
):
    """The first policy can be steered, the second cannot; the battery is low before or after."""
    idle = [Controller(contract, lambda observation: np.zeros(8, np.float32))]
    b = bench(contract=steered, durations=LONG, commands=Choice(chosen_at, 1), also=idle)
    b.robot.reading = drained(drained_at, 13.2)
    b.loop.run()
    assert b.loop.faults == []
    log = b.log
    assert [event.level for event in log.events] == ["warn", "slow", "slow"][:events]
    told = ["cannot be steered, so it is not slowed" in event.detail for event in log.events]
    assert told == [False] * (events - 1) + [True]
    took_over_ns = log.woke_ns[np.flatnonzero(log.policy == 1)[0]]
    assert (log.events[-1].t_ns == took_over_ns) == (events == 3)


@pytest.mark.parametrize("number", range(LOOK_STATES + 2))
@pytest.mark.parametrize("volts", [0.0, 12.3])
def test_one_wrong_reading_of_the_battery_ends_no_run(bench, number, volts):
    b = bench(durations=dataclasses.replace(LONG, run_s=1.0))
    b.robot.reading = lambda n, state: dataclasses.replace(
        state, battery_v=volts if n == number else 14.0
    )
    b.loop.run()
    assert b.loop.faults == []
    assert b.log.events == ()


def test_a_clock_that_goes_back_takes_nothing_from_a_time():
    strong = standing(motor_torque_nm=(LIMITS.overload_torque_nm + 0.01) * np.eye(8)[2])
    reactions = Reactions()
    for now_ms in (0, 240, 0, 240):  # 0.24 s forwards, twice: more than the 0.25 s of the warning
        reactions.update(strong, now_ms * 1_000_000, 0.0)
    assert "stall" in [event.signal for event in reactions.events]


def test_sit_ends_the_run_as_one_stop_request_does(bench):
    b = bench(durations=LONG)
    b.robot.reading = drained(300, 12.75)
    b.loop.run()
    assert b.fault_names == ["battery_sit"]
    assert "bound 13.00 V: charge the battery" in b.details
    assert not b.loop.interrupted
    modes = [int((b.log.mode == mode).sum()) for mode in LoopMode]
    assert modes[LoopMode.RUN] < 1000
    assert modes[LoopMode.FINISH] == 50
    assert modes[LoopMode.DAMP] == 17
    assert b.robot.events[-1] == "deactivate"


def test_after_sit_the_first_stop_request_changes_nothing_and_the_second_damps(bench):
    def finishing(requests):
        left = [None] * requests

        def ask(tick):
            if tick.mode is LoopMode.FINISH and left:
                left.pop()
                b.loop.request_stop()

        b = bench(durations=LONG, observers=[ask])
        b.robot.reading = drained(300, 12.75)
        b.loop.run()
        return int((b.log.mode == LoopMode.FINISH).sum())

    assert [finishing(requests) for requests in (0, 1)] == [50, 50]
    assert finishing(2) == 2


def test_sit_while_the_robot_stands_up_damps(bench):
    b = bench(rules=dataclasses.replace(DEFAULT_RULES, winding=Rule(sit=80.0)))
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, winding_temperature_c=COOL + 60.0) if n >= 4 else state
    )
    b.loop.run()
    assert b.fault_names == ["winding_sit"]
    assert (b.log.mode <= LoopMode.STAND_UP).sum() == 2
    assert b.robot.sent[-1].kp == 0.0


def test_damp_damps_in_the_same_tick(bench):
    b = bench(rules=dataclasses.replace(DEFAULT_RULES, winding=Rule(damp=80.0)))
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, winding_temperature_c=COOL + 60.0) if n >= 10 else state
    )
    b.loop.run()
    assert b.fault_names == ["winding_damp"]
    assert b.robot.sent[7].kp == 0.0
    assert b.robot.sent[6].kp > 0.0


def test_a_battery_that_would_end_the_run_is_refused_before_arming(bench):
    b = bench()
    b.robot.reading = drained(0, 12.9)
    b.loop.run()
    assert b.fault_names == ["battery_sit"]
    assert "12.90 V before arming, bound 13.00 V" in b.details
    assert b.robot.events == ["deactivate"]
    b = bench(rules=NO_REACTIONS)
    b.robot.reading = drained(0, 12.9)
    b.loop.run()
    assert b.loop.faults == []


def test_a_hot_motor_is_refused_before_arming():
    reactions = Reactions()
    reactions.check_start([standing()])  # nobody knows
    reactions.check_start([standing(winding_temperature_c=COOL + 80.0)])
    with pytest.raises(SafetyStop, match=r"^winding_sit: 110\.0 degC before arming"):
        reactions.check_start([standing(winding_temperature_c=COOL + 85.0 * np.eye(8)[1])])


def test_a_loop_that_misses_ticks_warns_before_it_stops(bench):
    b = bench(durations=LONG)
    b.robot.writing = lambda n: b.clock.delay_ns(7_000_000 if n % 2 else 0)  # a third is missed
    b.loop.run()
    assert b.loop.faults == []
    assert [(event.signal, event.level) for event in b.log.events] == [
        ("pace", "warn"), ("pace", "slow"),
    ]  # fmt: skip


# --------------------------------------------------------------------------------- on a plant


@pytest.fixture(scope="module")
def body():
    plant = Plant(BulletEngine())
    yield plant
    plant.close()


def run_shipped(body, name, params, run_s, **options):
    """Run a shipped policy; a steered one goes ahead."""
    policy = OnnxPolicy.load(Path(name), MINITAUR)
    spec = policy.contract.velocity_command
    body.reset(params)
    clock = SimClock(body)
    robot = SimRobot(body, clock, trace_hz=0.0)
    loop = ControlLoop(
        robot,
        clock,
        Controller(policy.contract, policy, MINITAUR),
        Durations(run_s=run_s, stand_up_s=0.5),
        odometry=robot,
        period_s=1e-3 * control_ticks(params),
        commands=None if spec is None else constant(spec.speed_mps[1], 0.0),
        **options,
    )
    loop.run()
    return loop


@pytest.mark.parametrize(
    ("policy", "seed"),
    [("trot", None), ("walk", 1), ("gallop", 1)],
)
def test_healthy_robots_are_left_alone(body, policy, seed):
    params = PlantParams() if seed is None else drawn("table1", seed)
    loop = run_shipped(body, policy, params, 5.0)
    assert loop.faults == []
    assert {event.level for event in loop.reactions.events} <= {"none", "warn"}


def test_slow_really_slows_a_robot(body):
    def speed(rules):
        log = run_shipped(body, "walk", PlantParams(battery_v=13.3), 4.0, rules=rules).log()
        x = log.base_position_m[log.run, 0]
        return (x[-1] - x[-300]) / (299 * PERIOD_S)

    assert 0.3 < speed(DEFAULT_RULES) / speed(NO_REACTIONS) < 0.7


def test_sit_ends_a_trot_on_its_feet(body):
    # The trot warms its windings by 9 K in 10 s.
    rules = dataclasses.replace(DEFAULT_RULES, winding=Rule(sit=LIMITS.ambient_c + 2.0))
    loop = run_shipped(body, "trot", PlantParams(), 10.0, rules=rules)
    log = loop.log()
    assert [fault.name for fault in loop.faults] == ["winding_sit"]
    assert 0 < (log.mode == LoopMode.RUN).sum() < 1500
    upright = log.mode <= LoopMode.FINISH
    assert (log.mode == LoopMode.FINISH).sum() == pytest.approx(167, abs=1)
    assert log.base_position_m[upright, 2].min() > 0.12
    assert np.abs(log.rpy_rad[upright, :2]).max() < MINITAUR.max_tilt_rad
    assert log.kp[-1] == 0.0


# --------------------------------------------------------------------------------- rules and names


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('slow_share = 0.25\n[battery]\nwarn = 14\nsit = "never"\n')
    rules = read_rules(path)
    assert rules.slow_share == 0.25
    assert rules.battery == dataclasses.replace(DEFAULT_RULES.battery, warn=14.0, sit=None)
    assert dataclasses.replace(
        rules, slow_share=DEFAULT_RULES.slow_share, battery=DEFAULT_RULES.battery
    ) == (DEFAULT_RULES)
    path.write_text("")
    assert read_rules(path) == DEFAULT_RULES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[batery]\nwarn = 14\n", "reactions knows no batery, only slow_share, battery, winding,"),
        ("[battery]\nwarning = 14\n", "battery knows no warning, only warn, slow, sit, damp,"),
        ("battery = 14\n", "reactions.battery must be an object, is int"),
        ("[battery]\nwarn = '14'\n", "reactions.battery.warn must be float, is str"),
        ("[battery]\nwarn = nan\n", r"reactions.battery.warn must be in \[0, 1000\], is nan"),
        ("[pace]\nlasts_s = -1\n", r"reactions.pace.lasts_s must be in \[0, 60\], is -1"),
        ("slow_share = 1.5\n", r"reactions.slow_share must be in \[0, 1\], is 1.5"),
        ("[battery]\nwarn = 13.2\n", "battery.slow 13.4 must be below battery.warn 13.2"),
        ("[winding]\nsit = 90\n", "winding.sit 90 must be above winding.slow 97.2"),
        (
            "[link]\nwarn = 0.1\n",
            "link.warn 0.1 could never be left, as clear_by is 0.1 and the best value 0%: choose",
        ),
        ("[stall]\nwarn = 0.05\n", "stall.warn 0.05 could never be left, as clear_by is 0.1"),
        ("[pace]\nclear_by = 0.35\n", "pace.warn 0.2 could never be left, as clear_by is 0.35"),
        ("[winding]\nwarn = 30\n", "winding.warn 30 could never be left, .* value 25.0 degC"),
        ("[battery]\nwarn = 16.6\n", "battery.warn 16.6 could never be left, .* value 16.80 V"),
        ("[battery\n", "is not TOML: "),
        ("\x00", "is not TOML: "),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        read_rules(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


# For each signal: its range, and what makes Fed feed it at its worst and at its best.
RANGES = {
    "battery": (10.0, 17.0, 5.0, 16.8),
    "winding": (20.0, 120.0, 200.0, 25.0),
    "stall": (0.0, 2.0, 3.0, 0.0),
    "link": (0.0, 1.0, 5.0, 0.0),
    "pace": (0.0, 1.0, 1.0, 0.0),
}


@given(st.sampled_from(sorted(RANGES)), st.floats(0.0, 0.99), st.floats(0.001, 1.0))
def test_every_level_that_a_file_may_set_is_left_once_all_is_well(path_of_rules, signal, x, y):
    low, high, worst, best = RANGES[signal]
    path_of_rules.write_text(
        f'[{signal}]\nwarn = {low + x * (high - low)}\nslow = "never"\nsit = "never"\n'
        f"clear_by = {y * (high - low)}\nlasts_s = 0\nclears_s = 0\n"
    )
    try:
        rule = read_rules(path_of_rules).rule(signal)
    except RunError as error:
        assume("could never be left" not in str(error))
        raise
    fed = Fed(1.0, **{signal: rule})
    assert fed.feed(signal, worst, 10.0) is Level.WARN
    assert fed.feed(signal, best, 100.0) is Level.NONE


@pytest.fixture(scope="module")
def path_of_rules(tmp_path_factory):
    return tmp_path_factory.mktemp("rules") / "r.toml"


def test_a_file_that_is_absent_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"none\.toml: No such file"):
        read_rules(tmp_path / "none.toml")


def test_the_stops_are_those_that_the_code_raises():
    named = re.compile(r"(?:SafetyStop|RunFault)\(\s*\"(\w+)\"")
    # The tools of the bring-up run no loop: they say in their own words why they ended.
    files = [path for path in DEPLOY.rglob("*.py") if "bringup" not in path.parts]
    raised = {name for path in files for name in named.findall(path.read_text())}
    listed = {stop.name for stop in STOPS}
    assert raised <= listed
    assert {name for name in listed if not name.startswith("non_finite_")} <= raised


def test_the_table_has_every_signal_and_every_stop():
    text = table()
    for name in [*(signal.name for signal in SIGNALS), *(stop.name for stop in STOPS)]:
        assert f"| `{name}` |" in text
    assert "| 13.80 V | 13.40 V | 13.00 V | - |" in text
