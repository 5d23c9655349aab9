"""The report's figures against numbers worked out by hand."""

import dataclasses
import json
import struct

import numpy as np
import pytest

from deploy.loop.loop import RunFault
from deploy.loop.modes import LoopMode
from deploy.policy.velocity_command import VelocityCommandSpec
from deploy.record import plots
from deploy.record.metrics import stride_ticks
from deploy.record.report import LinkReport, Percentiles, summarise
from robot_firmware_bridge.geometry import leg_to_motor

KEYS = [
    "speed_mps",
    "distance_m",
    "seconds",
    "mean_power_w",
    "fell",
    "faults",
    "ticks",
    "overruns",
    "period_s",
    "jitter_us",
    "compute_us",
    "policy",
    "robot",
]


def first(log, ticks):
    """Return the log of a run that was cut after some ticks."""
    return dataclasses.replace(log, **{name: rows[:ticks] for name, rows in log.arrays().items()})


@pytest.fixture
def log(bench):
    """Two ticks of standing up, four of RUN with one missed among them, two of FINISH.

    RUN is due at 12, 18, 30 and 36 ms and ends at 42 ms.
    """
    b = bench()
    b.loop.run()
    deadline_ns = np.array([0, 6, 12, 18, 30, 36, 42, 48]) * 1_000_000
    late_us = np.array([900, 900, 10, 20, 30, 40, 900, 900])
    position = np.zeros((8, 3))
    position[:, 0] = [9.0, 9.0, 1.0, 1.1, 1.2, 1.3, 1.36, 9.0]
    torque, velocity = np.zeros((8, 8)), np.zeros((8, 8))
    torque[:, 0], torque[:, 7] = 2.0, -1.0
    velocity[:, 0], velocity[:, 7] = [99, 99, 1, 2, 3, 4, 99, 99], 3.0
    return dataclasses.replace(
        first(b.log, 8),
        deadline_ns=deadline_ns,
        woke_ns=deadline_ns + late_us * 1000,
        compute_ns=np.array([9, 9, 1, 2, 3, 4, 9, 9]) * 100_000,
        mode=np.array([0, 0, 1, 1, 1, 1, 2, 2], np.int8),
        motor_velocity_rad_s=velocity,
        motor_torque_nm=torque,
        base_position_m=position,
        velocity_command=np.tile((10.0, -0.5), (8, 1)),
        policy=np.array([-1, -1, 0, 0, 0, 0, 0, 0], np.int8),
    )


def steered(log):
    spec = VelocityCommandSpec((0.0, 20.0), (-1.0, 1.0), 1.0, 1.0)
    contract = dataclasses.replace(log.contract, velocity_command=spec)
    return dataclasses.replace(log, contract=contract)


def without_odometry(log):
    blind = np.full_like(log.base_position_m, np.nan)
    return dataclasses.replace(log, base_position_m=blind)


def report_of(log, faults=(), **more):
    return summarise(log, faults, policy="p.onnx", robot="sim", **more)


def test_figures_by_hand(log):
    report = report_of(log)
    assert report.seconds == pytest.approx(0.030)
    assert report.distance_m == pytest.approx(0.36)
    assert report.speed_mps == pytest.approx(12.0)
    # |2 * (1, 2, 3, 4)| + |-1 * 3|, of which the mean is 8.
    assert report.mean_power_w == pytest.approx(8.0)
    assert (report.ticks, report.overruns, report.period_s) == (4, 1, 0.006)
    assert report.jitter_us.p50 == pytest.approx(25.0)
    assert report.jitter_us.p99 == pytest.approx(39.7)  # between 30 and 40, at 2.97 of 3
    assert report.jitter_us.max == pytest.approx(40.0)
    assert report.compute_us == Percentiles(250.0, pytest.approx(397.0), 400.0)
    assert report.ok
    assert not report.fell


def test_steering_errors_by_hand(log):
    assert report_of(log).speed_error_mps is None
    assert report_of(log).yaw_rate_error_rad_s is None
    # All of RUN is shorter than a stride: 12 m/s for 10, 0 rad/s for -0.5.
    report = report_of(steered(log))
    assert report.speed_error_mps == pytest.approx(2.0)
    assert report.yaw_rate_error_rad_s == pytest.approx(0.5)
    report = report_of(steered(without_odometry(log)))
    assert report.speed_error_mps is None
    assert report.yaw_rate_error_rad_s == pytest.approx(0.5)


def test_the_yaw_at_which_an_imu_was_switched_on_changes_no_figure(log):
    rpy_rad = np.add(log.rpy_rad, (0.0, 0.0, 2.0))
    elsewhere = dataclasses.replace(log, rpy_rad=rpy_rad)
    assert report_of(elsewhere).heading_speed_mps == pytest.approx(12.0)
    report = report_of(steered(elsewhere))
    assert report.speed_error_mps == pytest.approx(2.0)


def test_the_json_has_the_stable_names_in_order(log):
    data = json.loads(report_of(log).to_json())
    assert list(data)[: len(KEYS)] == KEYS
    assert list(data["jitter_us"]) == ["p50", "p99", "max"]
    assert (data["policy"], data["robot"], data["faults"]) == ("p.onnx", "sim", [])


def test_a_serial_line_has_its_figures_and_a_line_for_people(log):
    link = LinkReport(
        port="/dev/ttyUSB0",
        baud=921600,
        states=990,
        states_lost=10,
        commands_lost=3,
        crc_errors=1,
        framing_errors=2,
        board_bad_frames=4,
        reconnects=0,
        board_resets=0,
        round_trip_us=Percentiles(2500.0, 4900.0, 12300.0),
        arrival_gap_us=Percentiles(2000.0, 3100.0, 18900.0),
        low_latency=True,
        states_late=0,
    )
    data = json.loads(report_of(log, link=link).to_json())
    assert data["link"]["round_trip_us"] == {"p50": 2500.0, "p99": 4900.0, "max": 12300.0}
    assert data["link"]["states_lost"] == 10
    assert link.describe() == (
        "921600 baud, lost 10 of 1000 states and 3 commands, 7 damaged frames, "
        "round trip p50 2.5, p99 4.9, max 12.3 ms, a state every p50 2.0, p99 3.1, max 18.9 ms"
    )
    broken = dataclasses.replace(
        link,
        states_late=5,
        reconnects=1,
        board_resets=2,
        round_trip_us=None,
        arrival_gap_us=None,
    )
    assert broken.describe().endswith(
        "7 damaged frames, 5 late or repeated states, 1 reconnects, 2 board resets"
    )


def test_without_odometry_there_is_no_speed(log):
    report = report_of(without_odometry(log))
    assert report.speed_mps is None
    assert report.distance_m is None
    assert report.mean_power_w == pytest.approx(8.0)
    assert json.loads(report.to_json())["speed_mps"] is None


@pytest.mark.parametrize(
    ("name", "detail", "fell"),
    [("tilt", "tilt: 0.61 rad", True), ("battery_low", "battery_low: 12 V", False)],
)
def test_of_the_faults_a_tilt_alone_is_a_fall(log, name, detail, fell):
    report = report_of(log, [RunFault(name, detail)])
    assert report.fell is fell
    assert not report.ok
    assert (report.faults, report.fault_details) == ((name,), (detail,))


def test_a_run_cut_in_its_last_tick_ends_there(log):
    report = report_of(first(log, 6))
    assert report.seconds == pytest.approx(0.024)
    assert report.distance_m == pytest.approx(0.3)


@pytest.mark.parametrize("ticks", [0, 1, 2])
def test_a_run_that_never_began_has_no_figures_but_a_report(log, ticks):
    report = report_of(first(log, ticks), [RunFault("robot_link", "robot_link: no answer")])
    data = json.loads(report.to_json())
    assert (data["seconds"], data["ticks"], data["overruns"]) == (0.0, 0, 0)
    absent = ("speed_mps", "distance_m", "mean_power_w", "jitter_us", "compute_us")
    assert all(data[name] is None for name in absent)


def test_a_report_replaces_the_one_before_whole_or_not_at_all(log, tmp_path):
    path = tmp_path / "made" / "run.json"
    report_of(log).save(path)
    report_of(log, interrupted=True).save(path)
    assert json.loads(path.read_text())["interrupted"] is True
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        report_of(log, setup={"oops": float("nan")}).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize("ticks", [1, 2, 5, 8])
@pytest.mark.parametrize("odometry", [True, False])
def test_any_run_can_be_drawn(log, tmp_path, ticks, odometry):
    part = first(log if odometry else without_odometry(log), ticks)
    path = tmp_path / "run.png"
    plots.draw(part, report_of(part), path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ticks", [1, 8])
def test_a_steered_run_is_drawn_with_its_commands(log, tmp_path, ticks):
    sizes = []
    for part in (first(log, ticks), first(steered(log), ticks)):
        plots.draw(part, report_of(part), tmp_path / "run.png")
        sizes.append(struct.unpack(">II", (tmp_path / "run.png").read_bytes()[16:24]))
    (width, height), (steered_width, steered_height) = sizes
    assert steered_width == width
    assert steered_height == pytest.approx(height + 2.6 * 110, abs=1)  # a row of panels more


def test_a_dry_run_is_drawn_without_motion_and_torque(log, tmp_path):
    """Two rows of panels and one of legs; a run that moves has three and two."""
    sizes = []
    for part in (log, dataclasses.replace(log, dry_run=True)):
        plots.draw(part, report_of(part), tmp_path / "run.png")
        sizes.append(struct.unpack(">II", (tmp_path / "run.png").read_bytes()[16:24]))
    (width, height), (dry_width, dry_height) = sizes
    assert dry_width == width
    assert dry_height == pytest.approx(height - (2.6 + 2.8) * 110, abs=1)


def test_the_age_of_a_state_is_from_its_time_stamp_to_the_tick(log):
    """States of 20 ms are older than three periods of 6 ms: the bound is drawn at 18."""
    axis = plots.new_figure(2.0, 2.0).subplots()
    plots.state_age(axis, dataclasses.replace(log, state_t_ns=log.woke_ns - 20_000_000))
    ages, bound = axis.get_lines()
    assert ages.get_ydata() == pytest.approx(20.0)
    assert bound.get_ydata() == pytest.approx([18.0, 18.0])
    assert axis.get_ylim() == (0.0, pytest.approx(22.5))


def test_a_steered_run_is_named_by_the_speed_along_its_heading(log):
    """It turns by a right angle and walks sideways: 12 m/s by net displacement, 0 by heading."""
    rpy_rad = np.tile((0.0, 0.0, np.pi / 2), (8, 1))
    rpy_rad[0] = 0.0
    turned = dataclasses.replace(log, rpy_rad=rpy_rad)
    assert "12.00 m/s along the start heading" in plots._headline(turned, report_of(turned))
    sideways = steered(turned)
    assert "0.00 m/s along its heading" in plots._headline(sideways, report_of(sideways))


def test_modes_and_faults_are_explained_where_there_are_any(log):
    labels = [handle.get_label() for handle in plots._key(log, report_of(log))]
    assert labels == ["stand up", "run: the policy acts", "finish: back to the stance"]
    fallen = report_of(log, [RunFault("tilt", "tilt: 0.61 rad")])
    assert plots._key(log, fallen)[-1].get_label() == "fault: tilt"


def test_a_stand_does_not_dilute_how_far_feet_are_lifted(log):
    """Two strides of RUN, a stand of as long, one more stride: only the first two count."""
    ticks = stride_ticks(log.contract.action.gait, log.period_s)
    swing = np.sin(2 * np.pi * np.arange(ticks) / ticks)
    legs = np.zeros((5 * ticks, 8))
    legs[:, 4:] = 2.0
    legs[:, 4] += 0.3 * np.concatenate((swing, swing, 0 * swing, 0 * swing, 0.2 * swing))
    mode = np.repeat(np.array([1, 1, 6, 6, 1], np.int8), ticks)
    row = {name: np.repeat(rows[2:3], 5 * ticks, axis=0) for name, rows in log.arrays().items()}
    row |= {"mode": mode, "policy": np.where(mode == 1, 0, -1).astype(np.int8)}
    row["deadline_ns"] = row["woke_ns"] = np.arange(5 * ticks) * 6_000_000
    stood = dataclasses.replace(log, **{**row, "motor_position_rad": leg_to_motor(legs.T).T})
    walked = first(stood, 2 * ticks)
    assert report_of(walked).toe_clearance_m > 0.02
    assert report_of(stood).toe_clearance_m == pytest.approx(report_of(walked).toe_clearance_m)
    assert report_of(stood).body_clearance_m == pytest.approx(report_of(walked).body_clearance_m)


def test_a_log_without_ticks_can_be_drawn(bench, tmp_path):
    log = bench().log
    plots.draw(log, report_of(log), tmp_path / "run.png")
    assert LoopMode.RUN not in log.mode
