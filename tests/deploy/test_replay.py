"""The replay: it repeats a run exactly, notices what differs, and says what another policy does."""

import dataclasses
import re

import numpy as np
import pytest

import policies
from deploy import replay as command
from deploy import run
from deploy.loop.modes import LoopMode
from deploy.policy.contract import ObservationTerm
from deploy.policy.velocity_command import VelocityCommandSpec
from deploy.record.read_log import read_log, read_run_log


def fly(folder, *arguments, seconds="0.6"):
    """Run the command; return the path of the log without its suffix."""
    folder.mkdir(exist_ok=True)
    report = folder / "run.json"
    code = run.main(["--report", str(report), "--no-plot", "--seconds", seconds, *arguments])
    assert code == 0
    return folder / "run"


@pytest.fixture(scope="module")
def trot(tmp_path_factory):
    """A run of the shipped trot in the simulator, shoved so that it is no mere gait."""
    folder = tmp_path_factory.mktemp("trot")
    arguments = ("--policy", "trot", "--no-realtime", "--push", "40", "--randomization", "table1")
    return fly(folder, *arguments, seconds="2.0")


@pytest.fixture
def call(capsys):
    """Calls the replay; returns its exit code and what it printed."""

    def call(path, *arguments):
        code = command.main([str(path), *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def changed(base, path, row, name, index, by):
    """Write the log of a run with one number changed, its report beside it."""
    log = read_log(base.with_suffix(".npz"))
    getattr(log, name)[row, index] += by
    log.save(path.with_suffix(".npz"))
    path.with_suffix(".json").write_bytes(base.with_suffix(".json").read_bytes())
    return path.with_suffix(".npz")


@pytest.mark.parametrize("suffix", [".mcap", ".npz"])
def test_a_run_is_repeated_from_either_file(trot, call, suffix):
    code, said, error = call(trot.with_suffix(suffix))
    assert (code, error) == (0, "")
    steps = int(np.isfinite(read_log(trot.with_suffix(suffix)).policy_t_s).sum())
    assert said.startswith(f"equal: observation, action and target of {steps} ticks of the policy")


@pytest.mark.parametrize("arguments", [
    ("--policy", "walk", "--no-realtime"),
    ("--policy", "walk", "--no-realtime", "--command", "0.3,0.4", "--seconds", "1.5"),
    ("--policy", "steer", "--no-realtime", "--command", "0.2,-0.3"),
    ("--policy", "trot-stock", "--no-realtime"),
    ("--policy", "steer-stock", "--no-realtime", "--command", "0.3,0.1"),
    ("--policy", "gallop", "--no-realtime", "--randomization", "table1", "--seed", "3"),
])  # fmt: skip
def test_every_kind_of_policy_is_repeated(tmp_path, call, arguments):
    base = fly(tmp_path / "run", *arguments)
    assert call(base.with_suffix(".mcap"))[0] == 0
    assert call(base.with_suffix(".npz"))[0] == 0


@pytest.mark.parametrize("board", [(), ("--policy", "trot-stock", "--board", "stock")])
def test_runs_over_a_serial_line_are_repeated(tmp_path, call, quick_and_patient, board):
    """The stock mainboard sends other targets than it was asked for."""
    folder = tmp_path / "run"
    folder.mkdir()
    arguments = ("--policy", "trot", "--robot", "emulator", "--no-plot", "--seconds", "1.0", *board)
    # However it ended on a busy machine: what was decided is repeated.
    run.main(["--report", str(folder / "run.json"), *arguments])
    for suffix in (".mcap", ".npz"):
        path = folder / f"run{suffix}"
        if np.isfinite(read_log(path).policy_t_s).any():
            assert call(path)[0] == 0
    if board:
        log = read_log(folder)
        sent, asked = log.target_rad[log.run], log.controller_target_rad[log.run]
        assert np.abs(sent - asked).max() > command.TOLERANCE


@pytest.mark.parametrize("name", ["action", "observation", "controller_target_rad"])
def test_a_number_that_differs_by_a_hundred_thousandth_is_found(trot, call, tmp_path, name):
    log = read_log(trot.with_suffix(".npz"))
    row = int(np.flatnonzero(log.mode == LoopMode.RUN)[100])
    path = changed(trot, tmp_path / "changed", row, name, 3, 1e-5)
    code, said, _ = call(path)
    assert code == 1
    what = {"controller_target_rad": "target"}.get(name, name)
    found = re.match(
        rf"differs first at tick {row}, \d\.\d+ s: {what} 3 is .*, which is (.*) off", said
    )
    assert float(found[1]) == pytest.approx(1e-5, rel=0.2)


def test_a_state_that_differs_is_found_in_the_observation(trot, call, tmp_path):
    log = read_log(trot.with_suffix(".npz"))
    row = int(np.flatnonzero(log.mode == LoopMode.RUN)[50])
    path = changed(trot, tmp_path / "changed", row, "rpy_rad", 0, 1e-4)
    code, said, _ = call(path)
    assert code == 1
    assert f"differs first at tick {row}, " in said
    assert ": observation 0 is " in said


def test_another_policy_is_compared_and_nothing_is_demanded(trot, call, tmp_path):
    table = tmp_path / "apart.csv"
    code, said, error = call(trot.with_suffix(".mcap"), "--policy", "gallop", "--out", table)
    assert (code, error) == (0, "")
    lines = said.splitlines()
    assert re.match(r"another policy, \d+ ticks: .* by \d\.\d+ rad rms, at most ", lines[0])
    assert len(lines) == 1 + 8 + 1
    assert "first by more than 0.01 rad at tick " in lines[-1]
    rows = np.genfromtxt(table, delimiter=",", names=True)
    log = read_run_log(trot.with_suffix(".mcap"))
    assert len(rows) == np.isfinite(log.log.policy_t_s).sum()
    rms = float(re.search(r"front_leftL +(\S+) rad rms", said)[1])
    assert np.sqrt(np.mean(rows["front_leftL_rad"] ** 2)) == pytest.approx(rms, abs=1e-4)


def test_the_policy_of_the_run_by_another_name_is_that_of_the_run(trot, call, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(policies.find("trot").read_bytes())
    code, said, _ = call(trot.with_suffix(".mcap"), "--policy", copy)
    assert code == 0
    assert said.startswith("equal: ")


@pytest.fixture
def own(write_policy, tmp_path):
    """A run of a policy of its own: the file, and the base of its log."""
    path = write_policy("mine.onnx", weight=0.1)
    return path, fly(tmp_path / "run", "--policy", str(path), "--no-realtime", seconds="0.2")


def test_a_policy_that_is_gone_is_asked_for(own, call, tmp_path):
    path, base = own
    moved = tmp_path / "moved.onnx"
    path.rename(moved)
    code, said, error = call(base.with_suffix(".mcap"))
    assert (code, said) == (2, "")
    assert re.fullmatch(
        r"error: the policy of this run, .*mine\.onnx with the SHA-256 [0-9a-f]{12}\.\.\., is not "
        r"there any more: name a copy .*\n",
        error,
    )
    assert call(base.with_suffix(".mcap"), "--policy", moved)[0] == 0


def test_a_policy_that_was_changed_since_is_not_that_of_the_run(own, write_policy, call):
    _, base = own
    write_policy("mine.onnx", weight=0.2)
    assert "is not there any more" in call(base.with_suffix(".mcap"))[2]


def test_an_npz_without_a_report_needs_the_policy(own, call):
    path, base = own
    base.with_suffix(".json").unlink()
    code, _, error = call(base.with_suffix(".npz"))
    assert code == 2
    assert "name the policy with --policy (POLICY)" in error
    assert call(base.with_suffix(".npz"), "--policy", path)[0] == 0


def test_a_policy_that_could_not_have_run_there_is_refused(own, call, write_policy, contract):
    _, base = own
    spec = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 0.8, 1.0)
    steered = dataclasses.replace(
        contract,
        observation=(*contract.observation, ObservationTerm("velocity_command")),
        velocity_command=spec,
    )
    slower = dataclasses.replace(contract, control_period_s=0.01)
    stock = dataclasses.replace(contract, control_period_s=0.01, board="stock")
    for other, size, field in (
        (steered, 6, "velocity_command"),
        (slower, 4, "control_period_s"),
        (stock, 4, "control_period_s"),
    ):
        path = write_policy("other.onnx", text=other.to_json(), size=size)
        code, said, error = call(base.with_suffix(".mcap"), "--policy", path)
        assert (code, said) == (2, "")
        assert error.startswith(f"error: contract.{field} is ")


def test_a_log_without_the_beginning_of_the_run_is_refused(trot, call, tmp_path):
    log = read_log(trot.with_suffix(".npz"))
    late = {name: values[100:] for name, values in log.arrays().items()}
    path = tmp_path / "run.npz"
    dataclasses.replace(log, **late).save(path)
    path.with_suffix(".json").write_bytes(trot.with_suffix(".json").read_bytes())
    code, _, error = call(path)
    assert code == 2
    assert re.match(r"error: the log begins \d\.\d s after the policy took over", error)


def test_a_log_that_lacks_ticks_is_refused(trot):
    whole = read_run_log(trot.with_suffix(".mcap"))
    tick = whole.tick.copy()
    tick[50:] += 7
    with pytest.raises(command.LogError, match="lacks ticks after tick 49"):
        command.check_complete(dataclasses.replace(whole, tick=tick))


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"PK\x03\x04"])
def test_what_is_no_log_is_exit_2_and_one_line(call, tmp_path, content):
    path = tmp_path / "run.mcap"
    path.write_bytes(content)
    code, said, error = call(path)
    assert (code, said, error.count("\n")) == (2, "", 1)


def test_a_run_that_ended_before_its_policy_is_refused(trot, call, tmp_path):
    log = read_log(trot.with_suffix(".npz"))
    before = {name: values[: log.run.start] for name, values in log.arrays().items()}
    dataclasses.replace(log, **before).save(tmp_path / "run.npz")
    code, _, error = call(tmp_path / "run.npz")
    assert code == 2
    assert "the policy did not run" in error


def test_a_file_that_is_cut_off_is_repeated_as_far_as_it_goes(trot, call, tmp_path):
    data = trot.with_suffix(".mcap").read_bytes()
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: len(data) * 2 // 3])
    code, said, _ = call(path)
    assert code == 0
    first, second = said.splitlines()
    assert first.startswith("the file is cut off or damaged: ")
    assert second.startswith("equal: ")
