"""The command, end to end on the simulated robot: exit codes, files, signals, one-line errors."""

import dataclasses
import hashlib
import json
import os
import signal
import sys

import numpy as np
import pytest
from support.plants import write_plant

from deploy import run as command
from deploy.loop.modes import LoopMode
from deploy.options import Options
from deploy.policy.contract import ObservationTerm
from deploy.policy.velocity_command import VelocityCommandSpec
from deploy.record.flight_log import FlightLog
from robot_firmware_bridge.command_line import STOP_SIGNALS
from sim.plant.params import PlantParams
from sim.plant.params_file import read_params
from sim.plant.randomization import drawn
from sim.view import video
from training.tasks.gaits import TROT, WALK


@pytest.fixture
def report(tmp_path):
    return tmp_path / "run.json"


@pytest.fixture
def call(report):
    """Calls the command as fast as possible, without a plot, its report in a scratch folder."""

    def call(policy, *arguments, seconds=0.6):
        return command.main(
            [
                *("--policy", str(policy), "--report", str(report)),
                *("--no-realtime", "--no-plot", "--seconds", str(seconds), *arguments),
            ]
        )

    return call


@pytest.fixture
def trotting(write_policy, contract):
    """Feedback of zero on the reference trot."""
    action = dataclasses.replace(contract.action, gait=TROT)
    return write_policy("trot.onnx", text=dataclasses.replace(contract, action=action).to_json())


@pytest.fixture
def walking(write_policy, contract):
    """Feedback of zero on the walk that can be steered."""
    steered = dataclasses.replace(
        contract,
        observation=(*contract.observation, ObservationTerm("velocity_command")),
        action=dataclasses.replace(contract.action, gait=WALK),
        velocity_command=VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 0.8, 1.0),
    )
    return write_policy("walk.onnx", text=steered.to_json(), size=6)


def test_a_constant_command_is_followed(call, walking, report, capsys):
    assert call(walking, "--command", "0.4,0.3", seconds=3.0) == 0
    data = json.loads(report.read_text())
    assert data["setup"]["command"] == "0.4,0.3"
    assert 0.0 < data["speed_error_mps"] < 0.2
    assert 0.0 < data["yaw_rate_error_rad_s"] < 0.25
    assert "steering mean error" in capsys.readouterr().out
    log = FlightLog.load(report.with_suffix(".npz"))
    assert log.velocity_command[log.run][-1].tolist() == [0.4, 0.3]
    assert log.rpy_rad[log.run.stop - 1, 2] > 0.3  # it has turned left


def test_a_walk_that_is_told_nothing_goes_ahead_and_one_told_to_stop_stays(call, walking, report):
    assert call(walking, seconds=1.5) == 0
    data = json.loads(report.read_text())
    assert data["setup"]["command"] == "ahead"
    assert data["distance_m"] > 0.3
    assert call(walking, "--command", "0,0", seconds=1.5) == 0
    assert abs(json.loads(report.read_text())["distance_m"]) < 0.15


def test_a_real_robot_that_is_told_nothing_is_told_to_stop():
    assert Options(robot="serial").request is None
    assert Options(robot="serial", command="0.4,0").request == "0.4,0"
    assert Options(robot="emulator").request == "ahead"


@pytest.mark.parametrize(
    ("options", "dry"),
    [
        ({"robot": "sim"}, False),
        ({"robot": "emulator"}, False),
        ({"robot": "sim", "dry_run": True}, True),
        ({"robot": "serial"}, True),
        ({"robot": "minitaur"}, True),
        ({"robot": "serial", "dry_run": True}, True),
        ({"robot": "serial", "arm": True}, False),
        ({"robot": "minitaur", "arm": True}, False),
    ],
)
def test_a_physical_robot_is_run_dry_unless_it_is_to_be_armed(options, dry):
    assert Options(**options).dry is dry


def test_a_command_that_cannot_be_is_exit_2(call, walking, trotting, error_line):
    for policy, text, message in (
        (trotting, "0.4,0", "takes no command"),
        (trotting, "keyboard", "takes no command"),
        (walking, "4,0", "out of the policy's ranges"),
        (walking, "keyboard", "needs a terminal"),
    ):
        assert call(policy, "--command", text) == 2
        assert message in error_line()


def test_a_reaction_that_ends_a_run_is_exit_1_and_in_report_log_and_summary(
    call, trotting, report, tmp_path, capsys
):
    rules = tmp_path / "rules.toml"
    rules.write_text("[battery]\nslow = 13.7\nsit = 13.6\n")
    drained = write_plant(tmp_path / "drained.json", {"battery_v": 13.7})
    arguments = ("--params", str(drained), "--reactions", str(rules))
    assert call(trotting, *arguments, seconds=1.0) == 0
    data = json.loads(report.read_text())
    assert [(each["signal"], each["level"]) for each in data["reactions"]] == [("battery", "slow")]
    assert data["setup"]["reactions"]["battery"]["sit"] == 13.6
    assert "reacted  slow at 0.0" in capsys.readouterr().out
    rules.write_text("[winding]\nwarn = 25.1\nslow = 25.2\nsit = 25.3\nclear_by = 0.05\n")
    assert call(trotting, *arguments, seconds=9.0) == 1
    data = json.loads(report.read_text())
    assert data["faults"] == ["winding_sit"]
    assert data["fault_details"][0].startswith("winding_sit: motor ")
    assert data["interrupted"] is False
    events = FlightLog.load(report.with_suffix(".npz")).events
    assert [event.level for event in events if event.signal == "winding"][-1] == "sit"
    assert [event.detail for event in events] == [each["detail"] for each in data["reactions"]]
    assert ", winding_sit" in capsys.readouterr().out


def test_rules_that_cannot_be_read_are_exit_2(call, trotting, tmp_path, error_line):
    rules = tmp_path / "rules.toml"
    rules.write_text("[battery]\nvarn = 3\n")
    assert call(trotting, "--reactions", str(rules)) == 2
    message = "battery knows no varn, only warn, slow, sit, damp, clear_by, lasts_s, clears_s"
    assert message in error_line()


@pytest.mark.skipif(sys.platform != "linux", reason="gamepads as Linux has them")
def test_a_run_whose_gamepad_is_gone_ends_and_says_so(call, walking, report, capsys):
    assert call(walking, "--command", "gamepad:/dev/null") == 130
    assert "nobody steered any more: the gamepad /dev/null is gone" in capsys.readouterr().out
    data = json.loads(report.read_text())
    assert data["setup"]["steering_lost"] == "the gamepad /dev/null is gone"
    assert (data["interrupted"], data["faults"]) == (True, [])
    assert len(FlightLog.load(report.with_suffix(".npz"))) == 0  # nobody steered: never armed


def test_policies_that_nobody_can_choose_or_that_differ_are_exit_2(
    call, walking, trotting, write_policy, contract, error_line
):
    assert call(walking, "--also", str(trotting)) == 2
    assert "--also needs somebody who chooses: --command keyboard or gamepad" in error_line()
    weak = write_policy("weak.onnx", text=dataclasses.replace(contract, kp=0.5).to_json())
    assert call(walking, "--command", "keyboard", "--also", str(trotting), str(weak)) == 2
    assert f"--also {weak}: contract.kp is 0.5, that of the run's first policy 1.0" in error_line()
    assert call(walking, "--also", *["trot"] * 9) == 2
    assert "also takes 8 policies at most, has 9" in error_line()


@pytest.mark.skipif(sys.platform != "linux", reason="gamepads as Linux has them")
def test_a_trot_that_nobody_holds_the_button_for_is_not_begun(
    call, walking, trotting, report, tmp_path
):
    """A FIFO that nobody writes to is a pad that lies on the table."""
    os.mkfifo(tmp_path / "js0")
    pad = f"gamepad:{tmp_path / 'js0'}"
    assert call(trotting, "--command", pad, "--also", str(walking), seconds=0.3) == 0
    log = FlightLog.load(report.with_suffix(".npz"))
    assert set(log.mode.tolist()) == {LoopMode.STAND_UP, LoopMode.STAND, LoopMode.DAMP}
    data = json.loads(report.read_text())
    assert [entry["policy"] for entry in data["setup"]["also"]] == [str(walking)]
    assert (data["setup"]["command"], data["ticks"], data["speed_mps"]) == (pad, 0, None)


def test_a_good_run(call, trotting, report, capsys):
    assert call(trotting, "--plot") == 0
    data = json.loads(report.read_text())
    assert (data["seconds"], data["ticks"], data["overruns"]) == (0.6, 100, 0)
    assert data["faults"] == []
    assert data["fell"] is False
    assert data["mean_power_w"] > 0.0
    assert data["speed_mps"] == pytest.approx(data["distance_m"] / 0.6)
    assert (data["policy"], data["robot"]) == (str(trotting), "sim")
    assert data["link"] is None
    log = FlightLog.load(report.with_suffix(".npz"))
    assert len(log) > 100
    assert report.with_suffix(".png").stat().st_size > 10_000
    printed = capsys.readouterr()
    for words in ("m/s", "100 ticks of 6.0 ms, not in real time", str(report)):
        assert words in printed.out
    assert printed.err == f"drawing {report.with_suffix('.png')} ...\n"


def test_a_seed_draws_the_plant_and_its_period_and_decides_every_bit(call, trotting, report):
    logs, plants = [], []
    for seed in ("5", "5", "2"):
        call(trotting, "--randomization", "table1", "--seed", seed, seconds=0.3)
        logs.append(FlightLog.load(report.with_suffix(".npz")))
        data = json.loads(report.read_text())
        plants.append(data["setup"]["plant"])
        # The plant lives in whole milliseconds, so its control step does too.
        drawn = plants[-1]["control_step_s"]
        assert data["period_s"] == pytest.approx(round(drawn, 3))
    assert plants[0] == plants[1] != plants[2]
    for name, values in logs[0].arrays().items():
        if name != "compute_ns":
            np.testing.assert_array_equal(getattr(logs[1], name), values, err_msg=name)


def test_any_ranges_of_the_simulators_will_do_and_no_others(call, trotting, report, error_line):
    assert call(trotting, "--randomization", "moon") == 2
    known = (
        "none, table1, beyond, original, offsets, play, uneven, jitter, lost, sag, soft, "
        "unmodelled, load2, weak, measured"
    )
    assert error_line() == f"error: unknown randomization 'moon'; known: {known}\n"
    assert not report.exists()
    assert call(trotting, "--randomization", "beyond", "--seed", "1", seconds=0.1) == 0
    data = json.loads(report.read_text())
    # The camera looks from a side, so the heading is not drawn.
    expected = dataclasses.replace(drawn("beyond", 1), start_heading_rad=0.0)
    assert PlantParams(**data["setup"]["plant"]) == expected


def test_a_run_is_on_the_calibrated_robot(call, trotting, report, tmp_path):
    values = {"contact_friction": 0.4, "encoder_offset_rad": (0.02, *(0.0,) * 7)}
    path = write_plant(tmp_path / "icy.json", values, {"contact_friction": (0.3, 0.5)})
    assert call(trotting, "--params", str(path), "--seed", "4", seconds=0.1) == 0
    data = json.loads(report.read_text())
    assert data["period_s"] == 0.006
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert data["setup"]["params"] == {"file": str(path), "name": "icy", "sha256": digest}
    # What is written is the plant, encoder offsets included.
    assert PlantParams(**data["setup"]["plant"]) == PlantParams(**values, seed=4)
    measured = ("--params", str(path), "--randomization", "measured", "--seed", "4")
    assert call(trotting, *measured, "--plant", "mujoco", seconds=0.1) == 0
    data = json.loads(report.read_text())
    expected = drawn("measured", 4, read_params(path))
    assert 0.3 <= expected.contact_friction <= 0.5
    expected = dataclasses.replace(expected, start_heading_rad=0.0)
    assert PlantParams(**data["setup"]["plant"]) == expected
    assert data["period_s"] == 0.006  # the contract's: the intervals have none


def test_ranges_without_a_control_period_leave_the_contracts(
    call, write_policy, contract, report, tmp_path
):
    slow = dataclasses.replace(contract, control_period_s=0.008)
    policy = write_policy("slow.onnx", text=slow.to_json())
    assert call(policy, "--randomization", "original", seconds=0.1) == 0
    assert json.loads(report.read_text())["period_s"] == 0.008


@pytest.mark.parametrize("robot", ["sim", "emulator"])
def test_a_bad_calibrated_plant_is_one_line_and_no_run(
    robot, trotting, report, tmp_path, shipped_plants, error_line
):
    write_plant(shipped_plants / "walk-2019.json", {})
    newer = write_plant(tmp_path / "newer.json", {})
    newer.write_text(newer.read_text().replace('"version": 1', '"version": 2'))
    common = ["--policy", str(trotting), "--report", str(report), "--no-plot", "--robot", robot]
    for arguments, message in (
        (["--params", str(newer)], "newer.json: it has version 2, this program reads version 1"),
        (
            ["--params", "walk-2020"],
            "unknown calibrated plant 'walk-2020'; did you mean walk-2019?",
        ),
        (["--randomization", "measured"], "needs a calibrated plant: name one (--params"),
    ):
        assert command.main([*common, *arguments]) == 2
        assert message in error_line()
    assert not report.exists()


def test_a_real_robot_is_not_calibrated_by_an_option(trotting, error_line):
    arguments = ["--policy", str(trotting), "--robot", "serial", "--params", "walk-2019"]
    assert command.main(arguments) == 2
    line = error_line()
    assert "--params, --randomization, --plant, --push and --terrain need a simulated robot" in line


@pytest.mark.parametrize("robot", ["sim", "emulator"])
def test_an_unknown_terrain_is_refused_before_anything_starts(trotting, error_line, robot):
    arguments = ["--policy", str(trotting), "--robot", robot, "--terrain", "hill"]
    assert command.main(arguments) == 2
    assert "unknown terrain 'hill': it is flat, blocks20" in error_line()


def test_without_a_plot(call, trotting, report, capsys):
    assert call(trotting, seconds=0.1) == 0
    assert report.exists()
    assert not report.with_suffix(".png").exists()
    assert "png" not in capsys.readouterr().out


def test_a_policy_that_yields_nan(call, write_policy, report, capsys):
    assert call(write_policy(bias=np.nan)) == 1
    data = json.loads(report.read_text())
    assert data["faults"] == ["non_finite_action"]
    assert "non_finite_action: value 0 of 8 is nan" in capsys.readouterr().out
    log = FlightLog.load(report.with_suffix(".npz"))
    assert log.kp[-1] == 0.0
    assert np.isfinite(log.target_rad).all()


def test_a_fall_is_exit_1(call, write_policy, contract, report):
    # One side's legs fold, the other side's stretch.
    action = dataclasses.replace(contract.action, scale_rad=(0.0,) * 4 + (-1.2, -1.2, 0.7, 0.7))
    policy = write_policy(bias=1.0, text=dataclasses.replace(contract, action=action).to_json())
    assert call(policy, seconds=3) == 1
    data = json.loads(report.read_text())
    assert data["fell"] is True
    assert data["faults"] == ["tilt"]
    assert data["seconds"] < 3.0


def test_a_dry_run_moves_nothing(call, trotting, report, capsys):
    assert call(trotting, "--dry-run", seconds=0.2) in (0, 1)
    log = FlightLog.load(report.with_suffix(".npz"))
    assert log.base_position_m[-1, 2] < 0.2  # limp, it sinks from its 0.25 m
    printed = capsys.readouterr().out
    assert "dry run" in printed
    assert "dry      nothing was sent; fastest " in printed
    assert "ARM=1" not in printed  # a simulated robot needs none
    assert "power " not in printed
    data = json.loads(report.read_text())
    assert data["setup"]["dry_run"] is True
    assert data["would_send"]["first_target_rad"] == 0.0


def test_paced_it_takes_its_time_and_measures_it(trotting, report):
    arguments = ["--policy", str(trotting), "--report", str(report), "--seconds", "0.3"]
    assert command.main(arguments) == 0
    data = json.loads(report.read_text())
    assert data["seconds"] == pytest.approx(0.3)
    assert data["jitter_us"]["p50"] > 0.0
    assert data["ticks"] + data["overruns"] == 50
    assert data["setup"]["scheduler"].startswith(("SCHED_FIFO", "SCHED_OTHER"))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_run_gently(call, trotting, report, on_inference, number):
    before = signal.getsignal(number)
    on_inference(20, lambda: os.kill(os.getpid(), number))
    assert call(trotting) == 130
    assert signal.getsignal(number) is before
    data = json.loads(report.read_text())
    assert data["interrupted"] is True
    assert data["ticks"] == 20
    log = FlightLog.load(report.with_suffix(".npz"))
    assert log.kp[-1] == 0.0


def test_a_bug_leaves_a_log_and_a_report_that_names_it(call, trotting, report, monkeypatch):
    def bug(self, action, t_s):
        raise ZeroDivisionError

    monkeypatch.setattr(command.Controller, "targets", bug)
    assert call(trotting) == 1
    assert len(FlightLog.load(report.with_suffix(".npz"))) > 0
    assert json.loads(report.read_text())["faults"] == ["internal_error"]
    assert "in bug" in report.with_suffix(".traceback.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--robot", "serial"], "--no-realtime need ROBOT=sim, not serial"),
        (["--robot", "emulator"], "--no-realtime need ROBOT=sim, not emulator"),
        (["--port", "/dev/ttyUSB0"], "--port needs ROBOT=serial or ROBOT=minitaur, not sim"),
        (["--clear-fault"], "--clear-fault needs ROBOT=serial, not sim"),
        (["--arm"], "--arm is not needed with ROBOT=sim, a simulated robot: leave it out"),
        (["--robot", "emulator", "--realtime", "--arm"], "--arm is not needed with ROBOT=emulator"),
        (["--robot", "serial", "--realtime", "--arm", "--dry-run"], "leave one out"),
        (["--board", "stock"], "--board needs ROBOT=emulator, not sim"),
        (["--robot", "minitaur", "--realtime"], "ROBOT=minitaur needs its port, PORT=/dev/..."),
        (["--compensate-battery"], "--compensate-battery needs ROBOT=serial or ROBOT=emulator"),
        (["--baud", "0"], "baud must be positive, is 0"),
        (["--policy", "nowhere.onnx"], "no policy file nowhere.onnx"),
        (["--seconds", "0"], "seconds must be in (0, 3600]"),
        (["--seconds", "nan"], "seconds must be in (0, 3600]"),
        (["--gui"], "--gui needs a display"),
        (["--seed", "-1"], "seed must not be negative"),
        (["--push", "-1"], "push must be a force of 0 N or more, is -1.0"),
        (["--push", "nan"], "push must be a force of 0 N or more, is nan"),
        (["--push", "3000"], "a push must be in [0, 2000] N, is 3000"),
        (["--video-height", "9"], "video-height must be in [90, 1080], is 9"),
        (["--video", "film.avi"], "must end in one of .mp4, .gif"),
        (["--report", "report.txt"], "must end in .json"),
        (["--report", "/proc/no/run.json"], "cannot write /proc/no/run.json"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(
    call, trotting, error_line, monkeypatch, arguments, message
):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert call(trotting, *arguments) == 2
    assert message in error_line()


@pytest.mark.parametrize("arguments", [["--robot", "car"], ["--secnds", "3"], ["--seconds", "x"]])
def test_a_mistyped_command_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    capsys.readouterr()


def test_help_teaches(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = capsys.readouterr().out
    for word in (
        "--policy",
        "--robot",
        "--dry-run",
        "--arm",
        "--clear-fault",
        "Exit codes",
        "Ctrl-C",
    ):
        assert word in text


def test_a_film_is_made_of_the_whole_run(call, walking, tmp_path, monkeypatch, capsys):
    made = []

    def render(trace, path, *, ground, height, caption):
        assert ground.sill_height_m == 0.02
        made.append((trace, height, [caption(frame.t_ns) for frame in trace]))
        path.write_bytes(b"film")

    monkeypatch.setattr(video, "render", render)
    film = tmp_path / "run.gif"
    arguments = ("--video", str(film), "--video-height", "180", "--command", "0.4,0.2")
    surroundings = ("--push", "20", "--terrain", "sill20")
    assert call(walking, *arguments, *surroundings, seconds=1.0) == 0
    ((trace, height, captions),) = made
    assert film.read_bytes() == b"film"
    # 0.5 s of standing up, 1.0 of RUN, 1.0 of finishing, 0.75 of damping, at 25 Hz.
    assert len(trace) == pytest.approx(81, abs=2)
    assert height == 180
    assert captions[0] == "stand up   -0.5 s"
    assert captions[30].startswith("run    0.7 s  command +0.40 m/s +0.20 rad/s")
    assert [caption.split()[0] for caption in captions][-1] == "damp"
    # 1.2 s after the plant was set down, for 60 ms.
    pushed = [frame.t_ns * 1e-9 for frame in trace if frame.push_n is not None]
    assert pushed
    assert all(1.2 <= t_s % 1.2 + 1.2 <= 1.27 for t_s in pushed)
    assert str(film) in capsys.readouterr().out


def test_the_second_engine_and_shoves_are_a_choice(call, trotting, report):
    distances = {}
    for engine in ("pybullet", "mujoco"):
        for push in ("0", "60"):
            assert call(trotting, "--plant", engine, "--push", push, seconds=1.5) == 0
            data = json.loads(report.read_text())
            assert data["setup"]["engine"] == engine
            assert data["setup"]["plant"]["push_force_high_n"] == float(push)
            distances[engine, push] = data["distance_m"]
    assert len(set(distances.values())) == 4
    assert min(distances.values()) > 0.5
