"""Walks under motion capture: order, signs and times are put right."""

import io
import math
import zipfile

import numpy as np
import pytest

from calibration.errors import RecordError
from calibration.readers import read_walk
from calibration.record import Board, FootCommands, Reason


def flags(record):
    return {flag.reason: flag.samples for flag in record.flags}


@pytest.fixture
def read(write, walk_arrays):
    """Reads the walk with some arrays replaced, or left out if None."""

    def read(**changes):
        buffer = io.BytesIO()
        arrays = {**walk_arrays, **changes}
        np.savez(buffer, **{name: each for name, each in arrays.items() if each is not None})
        return read_walk(write(buffer.getvalue(), "walk.npz"))

    return read


def test_a_walk_is_read_whole(read, walk_arrays):
    record = read()
    assert record.source.board is Board.FOOT_COMMANDS
    assert record.flags == ()
    assert isinstance(record.commands, FootCommands)
    assert record.commands.t_s == pytest.approx(walk_arrays["command_t_s"])
    assert record.motors.position_rad == pytest.approx(walk_arrays["joint_position_rad"], abs=1e-6)
    assert (record.motors.velocity_rad_s == 0.5).all()
    assert (record.motors.torque_nm == 0.25).all()
    assert record.mocap.position_m == pytest.approx(walk_arrays["mocap_position_m"])
    assert record.mocap.rate_hz == pytest.approx(120.0)


def test_the_toe_of_the_file_is_counted_backwards(read):
    swing, length = read().commands.leg_targets()
    assert swing[0] == pytest.approx([math.atan2(y, 0.15) for y in (0.01, 0.02, 0.03, 0.04)])
    assert length[0, 3] == pytest.approx(math.hypot(0.15, 0.04))


def test_joints_are_put_to_when_they_were_true(read, walk_arrays):
    assert read().motors.t_s == pytest.approx(walk_arrays["joint_t_s"] - 0.12)


def test_currents_are_in_motor_space_and_go_with_their_joints(read, walk_arrays):
    assert (read().motors.current_a == np.arange(1.0, 9.0)).all()
    few = {name: walk_arrays[name][:30] for name in ("current_t_s", "motor_current_a")}
    current = read(**few).motors.current_a
    assert np.isfinite(current[:30]).all()
    assert np.isnan(current[30:]).all()
    alone = {name: walk_arrays[name][:1] for name in ("current_t_s", "motor_current_a")}
    assert np.isfinite(read(**alone).motors.current_a).all(axis=1).sum() == 1


def test_wrapped_angles_go_on(read, walk_arrays):
    wrapped = walk_arrays["joint_position_rad"].copy()
    wrapped[:, 5] += np.linspace(0.0, 3.0, 60)
    true = wrapped[:, 5].copy()
    wrapped[:, 5] = np.mod(true + np.pi, 2.0 * np.pi) - np.pi
    assert wrapped[:, 5].min() < 0.0
    assert read(joint_position_rad=wrapped).motors.position_rad[:, 5] == pytest.approx(
        true, abs=1e-5
    )


def test_poses_that_arrive_in_bunches_are_spread_again(read, walk_arrays):
    bunched = np.ceil(walk_arrays["mocap_t_s"] / 0.01) * 0.01 + np.arange(720) * 1e-7
    mocap = read(mocap_t_s=bunched).mocap
    assert np.diff(mocap.t_s) == pytest.approx(1.0 / 120.0, rel=1e-3)
    assert mocap.t_s == pytest.approx(walk_arrays["mocap_t_s"], abs=1e-3)


def test_poses_of_which_some_were_lost_keep_their_times(read, walk_arrays):
    keep = np.r_[0:300, 400:720]
    names = ("mocap_t_s", "mocap_position_m", "mocap_quaternion_xyzw")
    mocap = read(**{name: walk_arrays[name][keep] for name in names}).mocap
    assert mocap.t_s == pytest.approx(walk_arrays["mocap_t_s"][keep])


def test_the_mounting_of_the_markers_is_found(read):
    assert read().mocap.mount_yaw_rad == pytest.approx(2.0, abs=0.02)


def test_markers_that_never_tilt_tell_no_mounting(read):
    level = np.tile((0.0, 0.0, 0.0, 1.0), (720, 1))
    assert read(mocap_quaternion_xyzw=level).mocap.mount_yaw_rad is None


def test_bad_values_are_flagged(read, walk_arrays):
    position = walk_arrays["joint_position_rad"].copy()
    position[3, 2] = np.nan
    x_m = walk_arrays["command_x_m"].copy()
    x_m[[7, 8]] = np.inf
    quaternion = walk_arrays["mocap_quaternion_xyzw"].copy()
    quaternion[5] = 0.0
    record = read(joint_position_rad=position, command_x_m=x_m, mocap_quaternion_xyzw=quaternion)
    assert flags(record)[Reason.NOT_FINITE] == 4
    assert not record.motors.ok[3]
    assert len(record.commands) == 4998
    assert len(record.mocap) == 719


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("joint_t_s", None, "lacks the arrays joint_t_s"),
        ("command_x_m", np.ones((5000, 3)), r"command_x_m must hold numbers in the shape \(T, 4\)"),
        ("joint_position_rad", np.ones((59, 8)), "joint_position_rad must hold"),
        ("mocap_t_s", np.zeros(0), "mocap_t_s must hold"),
        ("mocap_t_s", np.full(720, np.nan), "mocap_t_s is not finite"),
        ("current_t_s", np.array(5.0), "current_t_s must hold"),
        ("command_y_m", np.full((5000, 4), "a"), "command_y_m must hold"),
        ("command_y_m", np.full((5000, 4), np.nan), "not one of its foot commands"),
        ("command_x_m", np.full((5000, 4), 160.0), "160 m from the hips, .* are in metres"),
        ("mocap_position_m", np.full((720, 3), np.nan), "fewer than two poses"),
        ("joint_position_rad", np.full((60, 8), 1.5), "no motion"),
        ("joint_position_rad", np.full((60, 8), np.nan), "not one of its 60 samples"),
        ("joint_t_s", np.tile((5.0, 1.0), 30), "clock jumps"),
    ],
)
def test_arrays_that_cannot_be_are_refused_by_their_name(read, name, value, words):
    with pytest.raises(RecordError, match=words) as refusal:
        read(**{name: value})
    assert "\n" not in str(refusal.value)


def test_python_objects_are_not_unpacked(read):
    with pytest.raises(RecordError, match="Python objects"):
        read(joint_t_s=np.array([print] * 60, object))


def test_an_array_that_claims_more_than_it_has_takes_no_memory(write, walk_arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **walk_arrays)
    hostile = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as honest,
        zipfile.ZipFile(hostile, "w") as archive,
    ):
        for member in honest.namelist():
            data = honest.read(member)
            archive.writestr(member, data.replace(b"(5000, 4)", b"(9999, 4)"))
    with pytest.raises(RecordError, match="claims 159984 bytes and has 80000"):
        read_walk(write(hostile.getvalue(), "walk.npz"))


def test_a_file_that_unpacks_to_too_much_is_refused(write):
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("command_x_m.npy", "w") as member,
    ):
        for _ in range(257):
            member.write(bytes(2**20))
    with pytest.raises(RecordError, match="257 MiB"):
        read_walk(write(buffer.getvalue(), "walk.npz"))


def test_what_is_no_archive_is_refused(write):
    with pytest.raises(RecordError, match=r"no \.npz file"):
        read_walk(write(b"t,r,p\n", "walk.npz"))
    with pytest.raises(RecordError, match=r"damaged \.npz file"):
        read_walk(write(b"PK\x03\x04" + bytes(50), "walk.npz"))
