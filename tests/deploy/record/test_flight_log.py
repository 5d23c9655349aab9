"""The flight log: complete, exact, readable again, and enough to replay a run."""

import dataclasses

import numpy as np
import pytest
from support.states import standing

from deploy.command_sources import Script
from deploy.loop.loop import LOOK_STATES
from deploy.loop.modes import LoopMode
from deploy.policy.contract import ObservationTerm
from deploy.policy.pipeline import Pipeline
from deploy.policy.velocity_command import VelocityCommandSpec
from deploy.record.flight_log import FlightLog
from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import MINITAUR
from training.tasks.gaits import WALK


@pytest.fixture
def flown(fly):
    """A run of a policy that reacts, and the log of it."""
    return fly()


def test_what_was_read_and_sent_is_what_is_logged(flown):
    log = flown.log
    assert len(log) == len(flown.robot.sent)
    for i, command in enumerate(flown.robot.sent):
        np.testing.assert_array_equal(log.target_rad[i], command.target_rad)
        assert (log.kp[i], log.kd[i]) == (command.kp, command.kd)
    # The first readings came before arming.
    expected = [
        0.1 * np.random.default_rng(n + LOOK_STATES).normal(size=3) for n in range(len(log))
    ]
    np.testing.assert_array_equal(log.rpy_rad, expected)
    np.testing.assert_array_equal(log.state_t_ns, log.woke_ns)


def test_what_a_tick_did_not_compute_is_nan(flown):
    log = flown.log
    computed = (log.mode == LoopMode.RUN) | (log.mode == LoopMode.FINISH)
    for name in ("observation", "action", "policy_t_s"):
        known = np.isfinite(getattr(log, name)).reshape(len(log), -1)
        assert (known == computed[:, None]).all(), name
    assert np.isnan(log.base_position_m).all()


def test_a_log_survives_the_file_bit_for_bit(flown, tmp_path):
    path = tmp_path / "new" / "run.npz"
    log = flown.log
    log.save(path)
    again = FlightLog.load(path)
    assert (again.contract, again.robot, again.period_s) == (log.contract, MINITAUR, 0.006)
    for name, values in log.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)
        assert getattr(again, name).dtype == values.dtype
    assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


def assert_replays(log, state_of):
    """Run the pipeline on a log's states, times, requests and actions: it agrees bit for bit."""
    pipeline = Pipeline(log.contract, log.robot)
    for i in range(log.run.start, log.run.stop):
        t_s = float(log.policy_t_s[i])
        pipeline.requested_velocity = tuple(log.velocity_command[i])
        np.testing.assert_array_equal(pipeline.observe(state_of(i), t_s), log.observation[i])
        np.testing.assert_array_equal(pipeline.targets(log.action[i], t_s), log.target_rad[i])


def test_a_run_can_be_replayed_from_its_log_bit_for_bit(flown, tmp_path):
    flown.log.save(tmp_path / "run.npz")
    log = FlightLog.load(tmp_path / "run.npz")
    names = {field.name for field in dataclasses.fields(RobotState)} - {"t_ns", "mode", "fault"}
    rows = {"t_ns": log.state_t_ns} | {name: getattr(log, name) for name in names}
    assert_replays(log, lambda i: standing(**{name: row[i] for name, row in rows.items()}))


def test_a_steered_run_can_be_replayed_from_the_commands_in_its_log(bench, contract):
    terms = (*contract.observation, ObservationTerm("velocity_command"))
    action = dataclasses.replace(contract.action, gait=WALK)
    spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 0.8, 1.0)
    steered = dataclasses.replace(contract, observation=terms, action=action, velocity_command=spec)
    b = bench(contract=steered, commands=Script((0.0, 0.03), ((0.5, 0.2), (0.0, -0.4))))
    b.loop.run()
    assert_replays(b.log, lambda i: b.robot.read())
    assert np.ptp(b.log.velocity_command[b.log.run], axis=0).min() > 0.01


def test_time_is_zero_where_the_policy_took_over(flown):
    log = flown.log
    assert log.t_s[log.run.start] == 0.0
    assert log.t_s[0] == pytest.approx(-0.030)


def test_of_a_long_run_the_newest_ticks_are_kept(fly):
    """100 ticks and one for each mode: a row of them is being written."""
    whole, short = fly(run_s=1.2), fly(run_s=1.2, kept_s=0.6)
    assert short.loop.ticks == whole.loop.ticks == len(whole.log)
    kept = 100 + len(LoopMode) - 1
    assert len(short.log) == kept
    for name, values in whole.log.arrays().items():
        if name != "compute_ns":
            np.testing.assert_array_equal(short.log.arrays()[name], values[-kept:], err_msg=name)


def test_what_an_older_version_did_not_log_is_unknown(flown, tmp_path):
    path = tmp_path / "run.npz"
    flown.log.save(path)
    with np.load(path) as file:
        older = {
            name: file[name] for name in file.files if not name.startswith(("controller", "robot_"))
        }
    np.savez(path, **older)
    log = FlightLog.load(path)
    assert np.isnan(log.controller_target_rad).all()
    assert not log.robot_mode.any()
    np.testing.assert_array_equal(log.target_rad, flown.log.target_rad)


def test_stretches_of_a_mode_by_hand(flown):
    modes = np.array([0, 0, 1, 5, 1, 1, 6, 1, 3], np.int8)
    rows = {name: values[:9] for name, values in flown.log.arrays().items()}
    log = dataclasses.replace(flown.log, **{**rows, "mode": modes})
    found = [log.stretch(tick) for tick in (0, 1, 2, 3, 4, 5, 6, 7, 8)]
    starts, stops = (0, 0, 2, 3, 4, 4, 6, 7, 8), (2, 2, 3, 4, 6, 6, 7, 8, 9)
    assert found == [slice(*edges) for edges in zip(starts, stops, strict=True)]
    assert log.longest_run == slice(4, 6)


def test_an_empty_log_is_a_log(bench, tmp_path):
    log = bench().log
    assert len(log) == 0
    assert log.run == log.longest_run == slice(0, 0)
    assert len(log.t_s) == 0
    log.save(tmp_path / "empty.npz")
    assert len(FlightLog.load(tmp_path / "empty.npz")) == 0


def test_a_log_from_before_there_were_several_policies_is_read(flown, tmp_path):
    path = tmp_path / "run.npz"
    flown.log.save(path)
    with np.load(path) as file:
        newer = ("policy", "also", "events", "dry_run")
        older = {name: file[name] for name in file.files if name not in newer}
    np.savez(path, **older)
    again = FlightLog.load(path)
    np.testing.assert_array_equal(again.policy, flown.log.policy)
    assert (again.also, again.events, again.dry_run) == ((), (), False)


def test_a_log_says_whether_its_run_was_a_dry_one(bench, tmp_path):
    for dry_run in (False, True):
        b = bench(dry_run=dry_run)
        b.loop.run()
        b.log.save(tmp_path / "run.npz")
        assert FlightLog.load(tmp_path / "run.npz").dry_run is dry_run
