"""The transfer protocol: who takes part, and resuming."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from studies.peers.peers import PEERS, write_policy
from studies.transfer import transfer
from studies.transfer.cells import load, physics, unpack
from studies.transfer.conditions import CONDITIONS
from studies.transfer.pace import Pace, in_words
from studies.transfer.policies import gather, known_policies, standing
from studies.transfer.report import table, write_report
from studies.transfer.transfer import Transfer, in_turn, run, tasks
from training.errors import EvaluationError
from training.evaluate.evaluate import Evaluation


def test_standing_holds_the_stance_whatever_it_sees(tmp_path):
    write_policy(*standing(), tmp_path / "standing.onnx")
    policy = OnnxPolicy.load(tmp_path / "standing.onnx")
    pipeline = Pipeline(policy.contract)
    for observation in ([0.0, 0.0], [0.4, -3.0]):
        action = policy(np.array(observation, np.float32))
        np.testing.assert_array_equal(pipeline.targets(action, 1.0), np.full(8, 2.0))


def test_who_takes_part(tmp_path):
    shipped, made = tmp_path / "policies", tmp_path / "made"
    for name in ("trot", "gallop"):
        write_policy(*standing(), shipped / f"{name}.onnx")
    assert known_policies(shipped) == ["gallop", "trot", "standing", *PEERS]
    files = gather((), made, shipped)
    assert list(files) == known_policies(shipped)
    assert all(OnnxPolicy.load(path) for path in files.values())
    mine = tmp_path / "mine.onnx"
    write_policy(*standing(), mine)
    assert gather((str(mine), "trot"), made, shipped) == {
        "mine": mine,
        "trot": shipped / "trot.onnx",
    }
    with pytest.raises(EvaluationError, match="unknown policy 'tort'; known: gallop, trot"):
        gather(("tort",), made, shipped)
    with pytest.raises(EvaluationError, match="'trot' means two policies"):
        gather(("trot", str(shipped / "trot.onnx")), made, shipped)


@pytest.fixture
def small(tmp_path):
    return Transfer(
        policies=("standing", "peer-trot"),
        conditions=("nominal", "push60"),
        episodes=2,
        seconds=1.0,
        workers=0,
        cells=tmp_path / "cells",
    )


def quiet():
    return Console(file=io.StringIO(), width=200)


def test_a_short_run_for_real_and_again(small):
    console = quiet()
    cells = run(small, console).found
    assert [(c.policy, c.condition.name) for c in cells] == [
        ("standing", "nominal"), ("peer-trot", "nominal"),
        ("standing", "push60"), ("peer-trot", "push60"),
    ]  # fmt: skip
    assert cells[0].report["survived"] == 2
    assert abs(cells[0].report["speed_mps"]["mean"]) < 0.05
    assert cells[1].report["speed_mps"]["mean"] > 0.2
    said = console.file.getvalue().splitlines()
    assert said[0] == "4 cells, 0 of them done before (checked in their turn); 4 to go"
    # In the order of computing, each with what is still to come.
    assert [line.split(":")[0] for line in said[1:]] == [
        "1/4 standing under nominal", "2/4 standing under push60",
        "3/4 peer-trot under nominal", "4/4 peer-trot under push60",
    ]  # fmt: skip
    assert "; 3 to go, about " in said[1]
    assert said[4].endswith("; 0 to go")
    console = quiet()
    again = run(small, console)
    assert (again.found, again.missing) == (cells, [])
    said = console.file.getvalue().splitlines()
    assert said[0].startswith("4 cells, 4 of them done before")
    assert all("(done before)" in line for line in said[1:])
    paths = write_report(cells, small.episodes, small.seconds, small.folder)
    assert [path.name for path in paths] == ["transfer.md", "transfer.json", "transfer.png"]


def test_a_cell_is_of_its_policy_its_condition_and_its_physics(small, monkeypatch):
    files = gather(small.policies, small.cells / "policies")
    nominal = [CONDITIONS["nominal"]]
    before = tasks(small, files, nominal)
    run(small, quiet())
    assert all(load(task) for task in before)
    # Another condition of that name, another policy of that name.
    pushed = tasks(small, files, [dataclasses.replace(nominal[0], push_n=1.0)])
    assert [task.path for task in pushed] == [task.path for task in before]
    assert not any(load(task) for task in pushed)
    swapped = dict(zip(files, reversed(files.values()), strict=True))
    assert not any(load(task) for task in tasks(small, swapped, nominal))
    # Another physics under the same names.
    monkeypatch.setattr("sim.engines.bullet._SOLVER_ITERATIONS", 3)
    assert not any(load(task) for task in tasks(small, files, nominal))
    # What is cut off or not of this program is computed again.
    before[0].path.write_text(before[0].path.read_text()[:100])
    before[1].path.write_text("[]")
    assert not any(load(task) for task in before)


def test_a_table_of_before_stands_for_its_cells(small, tmp_path, monkeypatch):
    cells = run(small, quiet()).found
    page = table(cells, small.episodes, small.seconds)
    write_report(cells, small.episodes, small.seconds, tmp_path)
    before = tmp_path / "transfer.json"
    anew = dataclasses.replace(small, cells=tmp_path / "anew", reuse=before)
    console = quiet()
    outcome = run(anew, console)
    assert console.file.getvalue().count("(done before)") == 4
    assert table(outcome.found, small.episodes, small.seconds) == page
    # And the table of these is the same table, again of use.
    write_report(outcome.found, small.episodes, small.seconds, tmp_path / "second")
    assert (tmp_path / "second" / "transfer.json").read_bytes() == before.read_bytes()
    # A row of another physics, and one of another length, are computed.
    monkeypatch.setattr("sim.engines.bullet._SOLVER_ITERATIONS", 3)
    (walked,) = tasks(anew, gather(("peer-trot",), tmp_path / "p"), [CONDITIONS["nominal"]])
    assert load(walked) is None
    monkeypatch.undo()
    longer = dataclasses.replace(anew, seconds=1.1, policies=("standing",), cells=tmp_path / "long")
    console = quiet()
    assert not run(longer, console).missing
    assert "done before)" not in console.file.getvalue().split("\n", 1)[1]


def test_cells_of_a_policy_trained_anew_count_as_new(small):
    run(small, quiet())
    cell = small.cells / "peer-trot.nominal.2x1s.json"
    data = json.loads(cell.read_text())
    data["key"]["policy_sha256"] = "0" * 64
    cell.write_text(json.dumps(data))
    console = quiet()
    assert not run(small, console).missing
    said = console.file.getvalue().splitlines()
    assert said[0].startswith("4 cells, 3 of them done before (checked in their turn); 1 to go, ")
    assert said[4].startswith("4/4 peer-trot under nominal: ")
    assert "(done before)" not in said[4]


def test_a_row_of_another_policy_of_the_same_name_stands_for_nothing(small, tmp_path):
    write_report(run(small, quiet()).found, small.episodes, small.seconds, tmp_path)
    before = tmp_path / "transfer.json"
    data = json.loads(before.read_text())
    data["policies"]["standing"]["sha256"] = "0" * 64
    before.write_text(json.dumps(data))
    anew = dataclasses.replace(small, cells=tmp_path / "anew")
    todo = tasks(anew, gather(small.policies, tmp_path / "p"), [CONDITIONS["nominal"]])
    unpack(before, todo)
    assert [task.policy for task in todo if task.path.exists()] == ["peer-trot"]


def test_killed_and_resumed_gives_the_same_table(small, tmp_path):
    whole = table(run(small, quiet()).found, small.episodes, small.seconds)
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "studies.transfer", "--policies", *small.policies]
    command += ["--conditions", *small.conditions, "--episodes", "2", "--seconds", "1.0"]
    command += ["--workers", "1", "--cells", str(folder)]
    first = folder / "standing.nominal.2x1s.json"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        for _ in range(1500):
            if first.exists():
                break
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)  # no chance to say goodbye, to its worker neither
    assert first.exists()
    written = first.stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "(done before)" in done.stderr
    assert "wrote" in done.stdout
    assert first.stat().st_mtime_ns == written
    assert (folder / "transfer.md").read_text() == whole


def sabotage(monkeypatch, policy, error):
    """Lets the evaluation of a policy end with an error."""
    compute = transfer.compute

    def failing(task, tick):
        if task.policy == policy:
            raise error
        return compute(task, tick)

    monkeypatch.setattr(transfer, "compute", failing)


def call(monkeypatch, *options):
    """Calls the command; its exit code."""
    monkeypatch.setattr("sys.argv", ["transfer", *map(str, options)])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return transfer.main()
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BrokenProcessPool("a worker died"), 1, "failed: a worker died"),
        (KeyboardInterrupt(), 130, "not computed yet"),
    ],
)
def test_one_cell_that_fails_loses_no_other(error, code, reason, tmp_path, monkeypatch, capsys):
    sabotage(monkeypatch, "peer-trot", error)
    options = ["--policies", "peer-trot", "standing", "--conditions", "nominal", "--episodes", "1"]
    options += ["--seconds", "0.5", "--workers", "0", "--cells", tmp_path, "--out", tmp_path / "p"]
    assert call(monkeypatch, *options) == code
    said = capsys.readouterr()
    assert ("error: peer-trot under nominal failed: a worker died" in said.err) == (code == 1)
    assert "1 of 2 cells are missing" in said.err
    # What is not whole does not go where the whole goes.
    assert not (tmp_path / "p").exists()
    page = (tmp_path / "transfer.md").read_text()
    assert "(`nominal`) | standing | 1 of 1 |" in page
    assert f"1 rows are missing:\n\n- peer-trot under nominal: {reason}\n" in page
    data = json.loads((tmp_path / "transfer.json").read_text())
    assert data["missing"] == [f"peer-trot under nominal: {reason}"]
    monkeypatch.undo()
    assert call(monkeypatch, *options) == 0
    assert "missing:" not in (tmp_path / "p" / "transfer.md").read_text()


def test_reports_are_the_cells_and_a_table_has_none(tmp_path, monkeypatch, capsys):
    options = ["--policies", "standing", "--conditions", "nominal", "push220", "--episodes", "1"]
    options += ["--seconds", "2", "--workers", "0", "--reports", tmp_path / "reports", "--cells"]
    assert call(monkeypatch, *options, tmp_path / "first") == 0
    reports = sorted((tmp_path / "reports").iterdir())
    assert [r.name for r in reports] == ["standing.nominal.json", "standing.push220.json"]
    for path in reports:
        cell = json.loads((tmp_path / "first" / f"{path.stem}.1x2s.json").read_text())
        assert json.loads(path.read_text()) == cell["report"]
    assert json.loads(reports[1].read_text())["push_n"] == 220.0
    # The rows of a table say what came of it and not of which plants.
    options += [tmp_path / "second", "--reuse", tmp_path / "first" / "transfer.json"]
    assert call(monkeypatch, *options) == 2
    assert "no report for standing.nominal.json: its cell was taken from a table" in (
        capsys.readouterr().err
    )


def test_ours_come_first_and_what_tells_most(tmp_path):
    small = Transfer(policies=("peer-trot", "standing", "trot"), cells=tmp_path)
    files = gather(small.policies, tmp_path / "policies")
    turns = in_turn(tasks(small, files, list(CONDITIONS.values())))
    assert len(turns) == 3 * 14
    assert [t.policy for t in turns[::14]] == ["trot", "standing", "peer-trot"]
    first = ["nominal", "emulator", "mujoco", "table1", "mujoco-table1", "push60", "beyond"]
    assert [t.condition.name for t in turns[:7]] == first
    assert [t.condition.name for t in turns[12:14]] == ["full", "stock"]


def test_the_pace_by_hand():
    def job(plant, episodes):
        return Evaluation(plant=plant, episodes=episodes, seconds=20.0)

    pace = Pace()
    assert pace.expect_s([job("pybullet", 1)]) is None
    assert pace.expect_s([job("emulator", 2)]) == 2 * (20.0 + 12.0)
    pace.note(job("pybullet", 10), 40.0)
    pace.note(job("pybullet", 10), 20.0)
    assert pace.expect_s([job("pybullet", 2)]) == pytest.approx(6.0)
    # Not timed yet: 3 s times what such an episode costs beside one of PyBullet.
    assert pace.expect_s([job("mujoco", 1), job("pybullet-full", 1)]) == pytest.approx(1.8 + 9.0)
    pace.note(job("mujoco", 1), 1.0)
    assert pace.expect_s([job("mujoco", 4)]) == pytest.approx(4.0)
    assert [in_words(s) for s in (None, 40.4, 720.0, 12600.0)] == [
        "", "about 40 s", "about 12 min", "about 3.5 h",
    ]  # fmt: skip


def test_the_emulated_boards_physics_is_its_plants_and_its_firmwares(tmp_path, monkeypatch):
    write_policy(*standing(), tmp_path / "standing.onnx")
    digests = [physics(CONDITIONS[name], tmp_path / "standing.onnx") for name in ("emulator",) * 2]
    assert digests[0] == digests[1]
    monkeypatch.setattr("studies.transfer.cells.sources_digest", lambda: "another firmware's")
    assert physics(CONDITIONS["emulator"], tmp_path / "standing.onnx") != digests[0]


def test_only_the_whole_protocol_goes_where_it_is_published(small):
    assert Transfer().folder == Path("docs/results")
    for change in ({"policies": ("trot",)}, {"conditions": ("nominal",)}, {"episodes": 99}):
        assert dataclasses.replace(Transfer(), **change).folder == Path("build/transfer")
    assert small.folder == small.cells


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policies", "no"], "unknown policy 'no'"),
        (["--conditions", "no"], "unknown conditions"),
        (["--policies", "absent.onnx"], "absent.onnx"),
        (["--policies", "standing", "--episodes", "0"], "episodes and seconds must be positive"),
        (["--policies", "standing", "--workers", "-1"], "workers"),
        (
            ["--policies", "standing", "--reuse", "policies/trot.nominal.json"],
            "not a transfer.json",
        ),
        (["--policies", "standing", "--reuse", "absent.json"], "absent.json: not a transfer.json"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, *options, "--cells", tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
