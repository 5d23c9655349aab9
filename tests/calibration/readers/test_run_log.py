"""Logs of this stack's own runs, on the simulated robot and on the emulated board."""

import dataclasses
import json

import numpy as np
import pytest

from calibration.errors import RecordError
from calibration.readers import read_run_log
from calibration.record import Board, MotorCommands, Reason, held_rows
from deploy.loop.modes import LoopMode
from robot_firmware_bridge.robot import MINITAUR


def flags(record):
    return {flag.reason: flag.samples for flag in record.flags}


@pytest.fixture
def read(tmp_path):
    """Saves a log, with some fields replaced, and reads it."""

    def read(log, **changes):
        path = tmp_path / "run.npz"
        dataclasses.replace(log, **changes).save(path)
        return read_run_log(path)

    return read


def test_a_dry_run_is_no_record_of_what_commands_do(read, sim_log):
    with pytest.raises(RecordError, match=r"run\.npz is the log of a dry run, of which no command"):
        read(sim_log, dry_run=True)


@pytest.mark.parametrize("kind", ["sim", "emulator"])
def test_a_run_is_read_from_when_the_policy_took_over(read, request, kind):
    log = request.getfixturevalue(f"{kind}_log")
    record = read(log)
    assert record.source.board is Board.OWN
    assert record.flags == ()
    assert record.robot == MINITAUR
    run = log.run
    for name in ("motor_position_rad", "motor_velocity_rad_s", "motor_torque_nm", "rpy_rad"):
        logged = getattr(log, name)[run]
        found = {
            "motor_position_rad": record.motors.position_rad,
            "motor_velocity_rad_s": record.motors.velocity_rad_s,
            "motor_torque_nm": record.motors.torque_nm,
            "rpy_rad": record.attitude.rpy_rad,
        }[name]
        assert np.array_equal(found[-len(logged) :], logged)
    zero_ns = log.woke_ns[run.start]
    assert record.motors.t_s[-1] == pytest.approx((log.state_t_ns[run][-1] - zero_ns) / 1e9)
    assert isinstance(record.commands, MotorCommands)
    assert record.commands.t_s[0] == pytest.approx(-0.1, abs=log.period_s)
    (first,) = held_rows(record.commands.t_s, np.zeros(1))
    assert np.array_equal(record.commands.target_rad[first], log.target_rad[run.start])
    assert record.commands.kp[first] == log.kp[run.start]
    assert record.mocap.quaternion is None
    assert np.array_equal(record.mocap.position_m[-1], log.base_position_m[run.stop - 1])
    assert record.battery.voltage_v == pytest.approx(16.0, abs=0.1)


def test_speeds_of_the_log_are_those_of_its_angles(read, sim_log):
    motors = read(sim_log).motors
    by_angles = dataclasses.replace(motors, velocity_rad_s=None).speeds_rad_s()
    error = by_angles[1:-1] - motors.speeds_rad_s()[1:-1]
    assert np.sqrt((error**2).mean()) < 0.15 * motors.speeds_rad_s().std()


def test_a_state_that_was_read_twice_counts_once(read, sim_log):
    changed = {name: np.repeat(getattr(sim_log, name), 2, axis=0) for name in sim_log.arrays()}
    changed["woke_ns"] = changed["woke_ns"] + np.tile((0, 3_000_000), len(sim_log))
    record = read(sim_log, **changed)
    once = read(sim_log)
    # The window before RUN may begin between the two ticks of one state.
    assert len(record.motors) - len(once.motors) in (0, 1)
    assert np.array_equal(record.motors.position_rad[-len(once.motors) :], once.motors.position_rad)
    assert flags(record) == {Reason.REPEATED_TIME: len(record.commands) - len(record.motors)}
    assert len(record.commands) >= 2 * len(once.commands)


def test_states_that_are_not_finite_are_flagged(read, sim_log):
    position = sim_log.motor_position_rad.copy()
    row = sim_log.run.start + 10
    position[row, 3] = np.nan
    record = read(sim_log, motor_position_rad=position)
    assert flags(record) == {Reason.NOT_FINITE: 1}
    (bad,) = np.flatnonzero(~record.motors.ok)
    assert record.attitude.ok[bad]


def test_an_encoder_that_jumps_faster_than_a_motor_turns_in_one_period_is_flagged(read, sim_log):
    position = sim_log.motor_position_rad.copy()
    row = sim_log.run.start + 10
    position[row, 3] += 1.3  # 176 rad/s, the speed without load, makes 1.06 rad in 6 ms
    assert flags(read(sim_log, motor_position_rad=position)) == {Reason.ENCODER_JUMP: 1}


def test_a_run_without_odometry_has_no_true_position(read, sim_log):
    nowhere = np.full_like(sim_log.base_position_m, np.nan)
    assert read(sim_log, base_position_m=nowhere).mocap is None


@pytest.mark.parametrize("jump_ns", [3_600_000_000_000, -100_000_000_000])
def test_states_after_a_jump_of_the_boards_clock_are_flagged(read, sim_log, jump_ns):
    """They cannot be told which of the loop's commands they belong to."""
    late = np.arange(len(sim_log.state_t_ns)) >= sim_log.run.stop - 20
    record = read(sim_log, state_t_ns=sim_log.state_t_ns + np.where(late, jump_ns, 0))
    assert flags(record)[Reason.OTHER_CLOCK] == 20
    for series in (record.motors, record.attitude):
        assert not series.ok[-20:].any()
        assert series.ok[:-20].all()
    late = np.ones(len(late), bool)
    with pytest.raises(RecordError, match="not one of its"):
        read(sim_log, state_t_ns=sim_log.state_t_ns + np.where(late, jump_ns, 0))


def test_a_run_folder_is_read_with_its_kind_of_robot(tmp_path, sim_log):
    tmp_path /= "trot"
    sim_log.save(tmp_path / "run.npz")
    assert read_run_log(tmp_path).source.robot == ""
    (tmp_path / "run.json").write_text(json.dumps({"robot": "emulator"}))
    record = read_run_log(tmp_path)
    assert record.source.robot == "emulator"
    assert record.source.name == "trot/run.npz"
    # As the newest run is found.
    (tmp_path.parent / "last").symlink_to("trot")
    assert read_run_log(tmp_path.parent / "last").source.name == "trot/run.npz"
    (tmp_path / "run.json").write_text("[1")
    assert read_run_log(tmp_path).source.robot == ""


def test_the_only_log_of_a_folder_is_read_whatever_its_name(tmp_path, sim_log):
    sim_log.save(tmp_path / "mine.npz")
    assert read_run_log(tmp_path).source.name == "mine.npz"
    sim_log.save(tmp_path / "other.npz")
    with pytest.raises(RecordError, match=r"2 \.npz files, none of them run\.npz"):
        read_run_log(tmp_path)


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(RecordError, match=r"a folder with no run\.npz"):
        read_run_log(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda log: {"mode": np.full_like(log.mode, LoopMode.STAND_UP)}, "before the policy"),
        (lambda log: {"woke_ns": log.woke_ns[::-1].copy()}, "order of time"),
        (lambda log: {"kp": log.kp[:-1]}, "kp has the type"),
        (lambda log: {"mode": log.mode.astype(float)}, "mode has the type"),
        (lambda log: {"target_rad": np.full_like(log.target_rad, np.nan)}, "not one of its comm"),
        (lambda log: {"motor_position_rad": np.full_like(log.target_rad, 2.0)}, "no motion"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_by_its_cause(read, sim_log, change, words):
    with pytest.raises(RecordError, match=words) as refusal:
        read(sim_log, **change(sim_log))
    assert "\n" not in str(refusal.value)


def test_a_log_of_another_version_is_refused(tmp_path, sim_log):
    path = tmp_path / "run.npz"
    sim_log.save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{name: each for name, each in arrays.items() if name != "kd"})
    with pytest.raises(RecordError, match="lacks kd: it is of another version"):
        read_run_log(path)
    np.savez(path, **{**arrays, "robot": np.array("{}")})
    with pytest.raises(RecordError, match="description of the robot"):
        read_run_log(path)
