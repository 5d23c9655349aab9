"""The real loop over link, firmware and plant on a virtual clock: walks, repeats, and stops."""

import numpy as np
import pytest
from support.processes import ROOT

from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.errors import BoardClockError, LateStatesError
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.robot import MINITAUR
from sim.board.console import parse_order
from sim.board.lockstep import lockstep
from sim.board.plant import PICK_UP_TICKS
from sim.engines.bullet import BulletEngine
from sim.plant.drives import pd_duty
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.robot import SimClock, SimRobot

MS = 1_000_000


@pytest.fixture(scope="module")
def policy():
    return OnnxPolicy.load(ROOT / "policies" / "trot.onnx")


@pytest.fixture
def plant(body):
    body.reset(PlantParams(seed=4))
    return body


@pytest.fixture
def bench(plant):
    return lockstep(plant)


def run_loop(robot, clock, odometry, policy, act=None, run_s=0.4, stand_up_s=0.3):
    """Run the control loop; return it."""
    durations = Durations(run_s=run_s, stand_up_s=stand_up_s, finish_s=0.1, damp_s=0.1)
    controller = Controller(policy.contract, act or policy)
    loop = ControlLoop(robot, clock, controller, durations, odometry=odometry)
    loop.run()
    return loop


def modes(bench):
    """Mode and fault after each change."""
    return [
        (event.fields["mode"], event.fields["fault"])
        for event in bench.events
        if event.name == "mode"
    ]


def speed(log):
    x = log.base_position_m[log.run, 0]
    return (x[-1] - x[0]) / (log.period_s * (len(x) - 1))


class SoftStarting(Plant):
    """A plant whose own motor controllers start as softly as the firmware does."""

    started = False

    def reset(self, params):
        self.started = False
        super().reset(params)
        self.started, self.driven_ms = True, 0

    def command(self, target_rad, kp, kd):
        super().command(target_rad, kp, kd)
        self.law = (target_rad.copy(), kp, kd)

    def advance(self, ticks):
        target, kp, kd = self.law
        if not self.started or kp == kd == 0.0:
            super().advance(ticks)
            return
        for _ in range(ticks):
            seen = self.controller_view(held=False)
            duty = pd_duty(target, seen.motor_position_rad, seen.motor_velocity_rad_s, kp, kd)
            self.driven_ms += 1
            bound = min(1.0, self.driven_ms / LIMITS.soft_start_ms)
            self.drive(np.clip(duty, -bound, bound))


def test_over_line_and_firmware_the_trot_walks_as_it_does_without(bench, policy):
    """Given what is real about a board: it starts softly, and its states are 5 ms old."""
    long = {"run_s": 3.0, "stand_up_s": 1.5}
    over_line = run_loop(bench.robot, bench.clock, bench.odometry, policy, **long)
    plant = SoftStarting(BulletEngine())
    plant.reset(PlantParams(seed=4, policy_latency_s=0.005))
    clock = SimClock(plant)
    robot = SimRobot(plant, clock, 0.0)
    direct = run_loop(robot, clock, robot, policy, **long)
    plant.close()
    assert over_line.faults == direct.faults == []
    assert speed(over_line.log()) == pytest.approx(speed(direct.log()), rel=0.1)
    assert speed(over_line.log()) > 0.5
    assert modes(bench) == [("READY", "none"), ("ACTIVE", "none"), ("DAMPING", "none")]
    counters = bench.link.session.counters
    assert counters.frames > 2_000
    assert (counters.crc_errors, counters.framing_errors, counters.states_lost) == (0, 0, 0)


def test_a_run_repeats_itself_bit_for_bit_though_the_line_is_bad(plant, policy):
    def once():
        plant.reset(PlantParams(seed=4))
        bench = lockstep(plant)
        bench.board.line.faults.flip = 3e-5
        return run_loop(bench.robot, bench.clock, bench.odometry, policy), bench

    (first, bench), (second, again) = once(), once()
    assert bench.link.session.counters.crc_errors > 0
    assert bench.link.session.counters == again.link.session.counters
    assert bench.events == again.events
    assert first.faults == second.faults
    for name in ("woke_ns", "state_t_ns", "target_rad", "motor_position_rad", "base_position_m"):
        np.testing.assert_array_equal(getattr(first.log(), name), getattr(second.log(), name))


def act_tenth(policy, do):
    """Return the policy, and the list of its calls; ``do`` comes with the tenth."""
    calls = []

    def act(observation):
        calls.append(1)
        if len(calls) == 10:
            do()
        return policy(observation)

    return act, calls


@pytest.mark.parametrize(
    ("order", "mode", "fault", "run_fault"),
    [
        ("freeze-imu", "DAMPING", "IMU", "robot_fault"),
        ("encoder-jump 2 0.7", "FAULT", "ENCODER", "robot_fault"),
        ("battery 11", "DAMPING", "UNDERVOLTAGE", "robot_fault"),
        ("heat 5 95", "DAMPING", "OVERHEAT", "robot_fault"),
        ("drop 1", "DAMPING", "COMMAND_TIMEOUT", "stale_state"),
        ("stall 300", "DAMPING", "COMMAND_TIMEOUT", "stale_state"),
    ],
)
def test_every_fault_stops_the_board_and_ends_the_run(bench, policy, order, mode, fault, run_fault):
    act, calls = act_tenth(policy, lambda: parse_order(order).act(bench.board))
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, act)
    bench.clock.sleep_until_ns(bench.clock.now_ns() + 100 * MS)
    assert [fault.name for fault in loop.faults] == [run_fault]
    assert modes(bench)[2][0] == mode
    assert fault in modes(bench)[2][1]
    if run_fault == "robot_fault":
        assert fault in loop.faults[0].detail
    assert len(calls) < 60


def test_an_encoder_that_slips_by_less_than_the_board_notices_ends_the_run(bench, policy):
    act, calls = act_tenth(policy, lambda: parse_order("encoder-jump 2 0.4").act(bench.board))
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, act)
    assert [fault.name for fault in loop.faults] == ["encoder_jump"]
    assert "motor back_leftL jumped by 0." in loop.faults[0].detail
    assert len(calls) == 10  # the order was in the tenth tick; the eleventh saw it


def test_the_robots_limits_are_those_of_its_board(bench):
    limits = bench.robot.command_limits
    assert limits.kp == pytest.approx(LIMITS.max_kp)
    assert limits.kd == pytest.approx(LIMITS.max_kd)
    assert limits.valid_for_ns == LIMITS.max_valid_ms * MS


@pytest.mark.parametrize(
    ("order", "error", "says"),
    [
        (
            "hold 16",
            LateStatesError,
            "every 16 ms instead of every 2 ms: its line holds bytes back",
        ),
        ("clock-drift 200000", BoardClockError, "ppm fast: check the board's crystal"),
        ("clock-drift -200000", BoardClockError, "ppm slow"),
        ("clock-drift -1e6", BoardClockError, "stands still"),
    ],
)
def test_what_would_end_every_run_is_named_before_arming(bench, policy, order, error, says):
    parse_order(order).act(bench.board)
    with pytest.raises(error, match=says):
        bench.robot.activate()
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy)
    assert [fault.name for fault in loop.faults] == ["robot_link"]
    assert modes(bench) == []


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("clock-drift 5000", "ppm fast"),
        ("clock-drift -5000", "ppm slow"),
        ("clock-drift -1e6", "stands still or ran back"),
        ("clock-jump 60", "jumped ahead by 60 ms"),
    ],
)
def test_a_clock_that_goes_wrong_in_a_run_is_named(bench, policy, order, says):
    act, _ = act_tenth(policy, lambda: parse_order(order).act(bench.board))
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, act, run_s=2.0)
    assert [fault.name for fault in loop.faults] == ["robot_link"]
    assert "the clock of the board on " in loop.faults[0].detail
    assert says in loop.faults[0].detail


def test_frames_that_come_twice_or_out_of_order_do_not_end_a_run(bench, policy):
    for order in ("repeat 0.1", "swap 0.1"):
        parse_order(order).act(bench.board)
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, run_s=1.0)
    assert loop.faults == []
    counters = bench.link.session.counters
    assert counters.states_duplicated > 50
    assert counters.board_resets == 0


def test_a_silent_host_is_told_apart_to_the_tick(bench, policy):
    """The board damps when the last command's life of 80 ms is over, not a tick later."""

    def act(observation):
        bench.board.line.faults.drop = 1.0
        return policy(observation)

    run_loop(bench.robot, bench.clock, bench.odometry, policy, act)
    stop = next(e for e in bench.events if e.fields.get("fault") == "COMMAND_TIMEOUT")
    assert 80.0 <= stop.fields["since_command_ms"] <= 82.0  # states come every 2 ms


def test_a_board_that_is_reset_ends_the_run(bench, policy):
    act, _ = act_tenth(policy, bench.board.reset)
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, act)
    # Silent until it is greeted again, and then found to be another than the one that was armed.
    assert [fault.name for fault in loop.faults] == ["stale_state", "robot_link"]
    assert "started anew" in loop.faults[1].detail
    assert [event.fields for event in bench.events if event.name == "boot"] == [
        {"boot_count": 1},
        {"boot_count": 2},
    ]
    assert modes(bench)[-1][0] == "ACTIVE"  # said before the reset; DISARMED needs no telling


def test_now_and_then_a_damaged_byte_does_no_harm(bench, policy):
    bench.board.line.faults.flip = 1e-4
    loop = run_loop(bench.robot, bench.clock, bench.odometry, policy)
    assert loop.faults == []
    counters = bench.link.session.counters
    assert counters.crc_errors + counters.framing_errors > 0
    assert counters.states_lost > 0


def test_after_the_run_the_robot_is_put_back_and_runs_again(plant, bench, policy):
    for _ in range(2):
        assert bench.board.plant.on_stand
        loop = run_loop(bench.robot, bench.clock, bench.odometry, policy, run_s=0.1)
        assert loop.faults == []
        assert not bench.board.plant.on_stand
        bench.clock.sleep_until_ns(bench.clock.now_ns() + (PICK_UP_TICKS + 1_000) * MS)
    names = [event.name for event in bench.events if event.name.endswith("stand")]
    assert names == ["off_stand", "on_stand", "off_stand", "on_stand"]


def test_a_fall_is_told_once(bench):
    robot, clock = bench.robot, bench.clock
    robot.activate()
    over = MINITAUR.stance_pose_rad.copy()
    over[:4] = 0.5  # the left legs fold, the right ones stretch
    over[4:] = 2.9
    for _ in range(300):
        robot.write(MotorCommand(over, 2.0, MINITAUR.kd, 80 * MS))
        clock.sleep_until_ns(clock.now_ns() + 6 * MS)
    falls = [event for event in bench.events if event.name == "fell"]
    assert len(falls) == 1


def test_time_passes_only_when_slept_or_waited_for(bench, plant):
    clock, link = bench.clock, bench.link
    now_ns = clock.now_ns()
    bench.robot.read()
    link.poll()
    assert clock.now_ns() == link.now_ns() == now_ns
    assert not link.wait(lambda: False, 0.0105)
    assert clock.now_ns() == now_ns + 10_500_000
    assert link.wait(lambda: clock.now_ns() >= now_ns + 12 * MS, 1.0)
    assert clock.now_ns() <= now_ns + 13 * MS
    clock.sleep_until_ns(0)
    assert clock.now_ns() >= now_ns + 12 * MS


def test_it_is_a_disarmed_robot_whose_position_is_known(bench):
    assert bench.odometry.base_position_m() == pytest.approx([0, 0, 0.25], abs=0.02)
    assert bench.robot.read().mode is Mode.DISARMED
    assert bench.robot.identity.boot_count == 1
