"""Sources of requested velocities: which one is opened; constants and scripts."""

import pytest

from deploy.command_sources import open_command, read_script
from deploy.errors import RunError
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.steering import Choosable, Steering
from training.tasks.course import COURSE

SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)


def opened(text, spec=SPEC):
    return open_command(text, [Choosable("steer", spec)])


def test_a_constant_holds_for_ever():
    source = opened("0.5,-0.2")
    assert source.requested(0.0) == source.requested(1e6) == (0.5, -0.2)


@pytest.mark.parametrize("text", [" 0.5 , -0.2", "0.5;-0.2", "0,5;-0,2", "+.5,-2e-1"])
def test_two_numbers_are_read_as_people_write_them(text):
    assert opened(text).requested(0.0) == (0.5, -0.2)


def test_ahead_is_the_greatest_speed_straight_on():
    assert opened("ahead").requested(3.0) == (SPEC.speed_mps[1], 0.0)


def test_a_path_may_have_a_comma_in_it(tmp_path):
    path = tmp_path / "left,then right.csv"
    path.write_text("t_s,speed_mps,yaw_rate_rad_s\n0,0.4,0\n")
    assert opened(str(path)).requested(0.0) == (0.4, 0.0)


def test_a_folder_is_no_script(tmp_path):
    with pytest.raises(RunError, match=r"command script: cannot read .*: Is a directory"):
        opened(str(tmp_path))


def test_a_script_from_a_german_spreadsheet_is_a_script(tmp_path):
    path = tmp_path / "kurs.csv"
    path.write_bytes(
        b"\xef\xbb\xbft_s;speed_mps;yaw_rate_rad_s\r\n# schnell\r\n1;0,4;0\r\n;;\r\n"
        b"2,5;0,1;-0,3\r\n\r\n"
    )
    script = opened(str(path))
    assert (script.times_s, script.velocities) == ((1.0, 2.5), ((0.4, 0.0), (0.1, -0.3)))
    path.write_bytes("t_s,speed_mps,yaw_rate_rad_s\n0,0,0\n".encode("utf-16"))
    with pytest.raises(RunError, match=r"kurs.csv is in UTF-16: save it as CSV UTF-8"):
        opened(str(path))


def test_a_script_has_nothing_to_say_but_velocities():
    assert opened("0.5,0").instructions is None
    assert opened("0.5,0").poll() == Steering(stops=0, lost=None)


def test_without_a_command_a_stop_is_requested():
    assert opened(None).requested(3.0) == STOP


def test_a_policy_that_takes_none_has_none():
    assert opened(None, spec=None) is None
    with pytest.raises(RunError, match="takes no command: leave --command out"):
        opened("0.5,0", spec=None)


def test_a_script_holds_each_request_until_the_next(tmp_path):
    path = tmp_path / "course.csv"
    path.write_text("t_s,speed_mps,yaw_rate_rad_s\n1,0.4,0\n\n2.5, 0.1, -0.3\n")
    script = opened(str(path))
    requests = [script.requested(t_s) for t_s in (0.0, 0.999, 1.0, 2.499, 2.5, 99.0)]
    assert requests == [STOP, STOP, (0.4, 0.0), (0.4, 0.0), (0.1, -0.3), (0.1, -0.3)]


def test_the_course_has_every_kind_of_command():
    course = read_script(COURSE)
    course.check(SPEC, "course")
    assert STOP in course.velocities
    for speed, yaw in ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1)):
        assert any(
            (w[0] > 0, w[1] > 0, w[1] < 0) == (speed, yaw > 0, yaw < 0) for w in course.velocities
        )
    assert course.times_s[-1] < 20.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; the first line must be t_s,speed_mps,yaw_rate_rad_s"),
        ("t,v,w\n0,0,0\n", "line 1: the first line must be .*, not 't,v,w'"),
        ("t_s,speed_mps,yaw_rate_rad_s\n0,0.1\n", "line 2: 3 numbers are needed, 2 are there"),
        ("t_s,speed_mps,yaw_rate_rad_s\n1,0,0\n1,0,0\n", "line 3: times must rise from 0, got 1"),
        ("t_s,speed_mps,yaw_rate_rad_s\n-1,0,0\n", "line 2: times must rise from 0, got -1"),
        ("t_s,speed_mps,yaw_rate_rad_s\n0,0,0\n3,0.9,0\n", "0.9 m/s and 0 rad/s at 3 s is out of"),
    ],
)
def test_a_bad_script_is_refused_by_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(RunError, match=message):
        opened(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.csv", "--command nowhere.csv: it is neither two numbers, SPEED,YAW_RATE"),
        (
            "far,nowhere.csv",
            "nor the path of a script that is there, nor ahead, nor keyboard, nor gamepad",
        ),
        ("0.5,left", "neither two numbers"),
        ("0.5,0.1,0.2", "neither two numbers"),
        ("inf,0", "neither two numbers"),
        ("nan,0", "neither two numbers"),
        ("0,4", "0 m/s and 4 rad/s at 0 s is out of the policy's ranges"),
        ("x" * 5000, "neither two numbers"),
        ("0.5,0.6", r"ranges, -0.2 to 0.8 m/s and -0.5 to 0.5 rad/s"),
    ],
)
def test_a_bad_command_is_refused(text, message):
    with pytest.raises(RunError, match=message):
        opened(text)


@pytest.mark.parametrize("text", [None, "ahead", "0.4,0"])
def test_several_policies_need_somebody_who_chooses(text):
    policies = [Choosable("walk", SPEC), Choosable("trot", None)]
    with pytest.raises(RunError, match="--also needs somebody who chooses: --command keyboard"):
        open_command(text, policies)


def test_without_a_terminal_the_keyboard_is_refused(tmp_path, monkeypatch):
    (tmp_path / "in").write_text("www")
    with (tmp_path / "in").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(RunError, match="keyboard needs a terminal, and standard input is none"):
            opened("keyboard")
