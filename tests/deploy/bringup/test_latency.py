"""The measured delay against the emulated robot's own, and how a measurement ends."""

import numpy as np
import pytest

from deploy.bringup.latency import (
    NOMINAL_LATENCY_S,
    TABLE1_LATENCY_S,
    Latency,
    Options,
    advice,
    begin_of_motion,
    latency,
    measure,
)
from deploy.bringup.robot_file import RobotFile, WiggleRecord, read_robot_file
from deploy.errors import RunError, SafetyStop
from sim.board.console import parse_order
from sim.plant.params import PlantParams
from sim.plant.randomization import TABLE1

MS = 1_000_000


def true_delay_s(stand, drives):
    """Return the mean time from a step's command to the state that shows its first torque."""
    times = np.array([t_ns for t_ns, _ in drives])
    stepped = np.abs(np.diff([duty for _, duty in drives], prepend=0.0)) > 0.03
    delays, before = [], None
    for sent_ns, command in stand.robot.writes:
        target = command.target_rad[0]
        if before is not None and command.kp == 0.5 and abs(target - before) > 0.05:
            first = np.flatnonzero(stepped & (times >= sent_ns))[0]
            delays.append((times[first] - sent_ns) * 1e-9)
        before = target
    # The sensors are so old; and states are delayed by the line, which their stamps do not know.
    params = stand.bench.odometry.params
    return float(np.mean(delays)) + params.pd_latency_s + stand.wiring.delay_ms * 1e-3


@pytest.mark.parametrize("kind", ["core", "stock"])
@pytest.mark.parametrize("delay_ms", [0.0, 4.3, 17.7])
def test_the_delay_is_found_to_the_millisecond(on_a_stand, kind, delay_ms):
    stand = on_a_stand(kind, f"delay {delay_ms}")
    drives = []
    advance = stand.bench.board.plant.advance

    def note(drive):
        drives.append((stand.bench.clock.now_ns(), float(drive.duty[0])))
        advance(drive)

    stand.bench.board.plant.advance = note
    found = measure(stand.rig, 0, 10)
    assert found.delay_s == pytest.approx(true_delay_s(stand, drives), abs=0.001)
    assert found.spread_s < 0.001
    age_ms = {"core": (1.0, 3.0), "stock": (9.0, 20.0)}[kind]
    assert age_ms[0] < found.age_s * 1e3 < age_ms[1]
    assert found.loop_s == found.delay_s + found.age_s
    assert stand.motors_are_safe()


@pytest.mark.parametrize("delay_s", [0.004, 0.0213, 0.048])
def test_the_beginning_of_a_second_order_response(delay_s):
    """Of x'' = w^2 (1 - x) - 2 z w x', seen every 10 ms, at another phase each time."""
    seconds = np.arange(0.0, 0.15, 1e-5)
    speed, x, curve = 0.0, 0.0, []
    for _ in seconds:
        speed += 1e-5 * (50.0**2 * (1.0 - x) - 2.0 * 0.3 * 50.0 * speed)
        x += 1e-5 * speed
        curve.append(x)
    times = np.concatenate([np.arange(0.0, 0.15, 0.010) + phase for phase in np.arange(10) * 1e-3])
    part = np.interp(times - delay_s, seconds, curve, left=0.0)
    assert begin_of_motion(times, part) == pytest.approx(delay_s, abs=0.0005)


@pytest.mark.parametrize(
    ("kind", "wiring", "says"),
    [
        ("core", "unplug 0", "front_leftL: no encoder moved"),
        ("stock", "flip-drive 0", "front_leftL: sign flipped"),
        ("core", "swap-drives 0 1", "front_leftL: swapped with front_leftR"),
    ],
)
def test_a_motor_that_is_wired_wrongly_is_refused_before_it_is_held(on_a_stand, kind, wiring, says):
    """Held in a loop through a wrong encoder, it would turn round and round."""
    stand = on_a_stand(kind, wiring)
    with pytest.raises(RunError, match=f"{says}.*: mend it first"):
        measure(stand.rig, 0, 4)
    assert stand.robot.armings == 1
    assert np.degrees(np.abs(stand.robot.moved_rad).max()) < 10.0
    assert stand.motors_are_safe()


def test_a_motor_that_is_wired_wrongly_goes_to_the_file(on_a_stand, tmp_path):
    stand, path = on_a_stand("core", "flip-drive 0"), tmp_path / "robot.json"
    RobotFile(wiggle=WiggleRecord("monday", True, True, ("ok",) * 8)).save(path)
    with pytest.raises(RunError, match="mend it first"):
        latency(Options(robot_file=path), stand.rig, "tuesday")
    record = read_robot_file(path).wiggle
    assert (record.date, record.ok, record.seen) == ("tuesday", False, False)
    assert record.motors[0] == "front_leftL: sign flipped (of drive or encoder)"
    assert record.motors[1] == "front_leftR: not tried"


def test_a_leg_that_is_moved_after_its_nudge_is_not_stepped(on_a_stand):
    stand = on_a_stand("core")
    deactivate = stand.robot.deactivate

    def deactivate_and_slip():
        deactivate()
        if stand.robot.armings == 1:
            for motor in range(8):
                stand.bench.board.plant.slip_encoder(motor, 1.2)

    stand.robot.deactivate = deactivate_and_slip
    with pytest.raises(RunError, match=r"the legs are not ready: .*bend it"):
        measure(stand.rig, 0, 4)
    assert stand.robot.armings == 1


def test_a_state_in_doubt_is_no_pose_that_the_board_cannot_command(on_a_stand):
    """The stock mainboard holds the command before, which is a step away from the new one."""
    stand = on_a_stand("stock")
    write, clock, session = stand.robot.write, stand.bench.clock, stand.bench.link.session
    doubted = []

    def damage_a_state_before_each_step(command):
        target = command.target_rad[0]
        if command.kp == 0.5 and abs(target - stand.robot.writes[-1][1].target_rad[0]) > 0.05:
            stand.bench.board.plant.read_battery(30.0)  # which no battery can do
            for _ in range(25):
                clock.sleep_until_ns(clock.now_ns() + MS * (not session.in_doubt))
            stand.bench.board.plant.read_battery(16.0)
            sent = write(command)
            doubted.append(abs(target - sent.target_rad[0]) > 0.05)
            return sent
        return write(command)

    stand.robot.write = damage_a_state_before_each_step
    measure(stand.rig, 0, 4)
    assert doubted == [True] * 4


def test_a_wrong_sign_elsewhere_does_no_harm(on_a_stand):
    stand = on_a_stand("core", "flip-encoder 1, swap-drives 4 5")
    measure(stand.rig, 0, 4)
    assert np.degrees(np.abs(stand.robot.moved_rad).max()) < 12.0
    assert stand.motors_are_safe()


def test_a_leg_that_is_caught_ends_it_with_motors_safe(on_a_stand):
    stand = on_a_stand("core")
    write = stand.robot.write

    def write_and_slip(command):
        if len(stand.robot.writes) == 300:
            stand.bench.board.plant.slip_encoder(5, 0.2)
        return write(command)

    stand.robot.write = write_and_slip
    with pytest.raises(SafetyStop, match=r"front_rightR (is 1\d degrees from|jumped by)"):
        measure(stand.rig, 0, 6)
    assert stand.motors_are_safe()


def test_a_silent_line_ends_it_with_motors_safe(on_a_stand):
    stand = on_a_stand("core")
    write = stand.robot.write

    def write_and_stall(command):
        if len(stand.robot.writes) == 200:
            parse_order("stall 300").act(stand.bench.board)
        return write(command)

    stand.robot.write = write_and_stall
    with pytest.raises(SafetyStop, match="stale_state"):
        measure(stand.rig, 0, 4)
    assert stand.motors_are_safe()


def test_it_is_compared_in_words_and_written(on_a_stand, tmp_path, capsys):
    path = tmp_path / "robot.json"
    stand = on_a_stand("core", "delay 25")
    assert not latency(Options(robot_file=path, steps=6), stand.rig, "2026-12-01")
    printed = capsys.readouterr().out
    assert "ms is beyond Table I, up to 40 ms" in printed
    record = read_robot_file(path).latency
    assert record.loop_ms == pytest.approx(record.delay_ms + record.state_age_ms, abs=0.02)
    assert f"delay          {record.delay_ms:6.1f} ms" in printed


@pytest.mark.parametrize(
    ("loop_ms", "says"),
    [
        (8, "within the simulator's nominal 15 ms"),
        (25, "within Table I, up to 40 ms: a policy"),
        (41, "beyond Table I"),
    ],
)
def test_advice(loop_ms, says):
    assert says in advice(Latency(loop_ms * 0.5e-3, 0.0, loop_ms * 0.5e-3, 20))


def test_the_latencies_are_those_that_policies_are_trained_with():
    assert PlantParams().policy_latency_s == NOMINAL_LATENCY_S
    assert TABLE1["policy_latency_s"] == TABLE1_LATENCY_S
