"""The transfer study: who takes part, table and figure by hand, a short one for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.plants import write_plant

from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from sim.plant import params_file
from sim.plant.registry import make_plant
from studies import transfer
from studies.peers import MADE, write_made
from studies.study import Result, StudyError
from studies.transfer import (
    CONDITIONS,
    Transfer,
    calibrated_conditions,
    gather,
    ground_conditions,
    push_curve,
)
from training.evaluation.job import Evaluation


def test_standing_holds_the_stance_whatever_it_sees(tmp_path):
    write_made("standing", tmp_path / "standing.onnx")
    policy = OnnxPolicy.load(tmp_path / "standing.onnx")
    pipeline = Pipeline(policy.contract)
    for observation in ([0.0, 0.0], [0.4, -3.0]):
        action = policy(np.array(observation, np.float32))
        np.testing.assert_array_equal(pipeline.targets(action, 1.0), np.full(8, 2.0))


def test_who_takes_part(tmp_path):
    shipped, made = tmp_path / "policies", tmp_path / "made"
    for name in ("trot", "gallop"):
        write_made("standing", shipped / f"{name}.onnx")
    files = gather((), made, shipped)
    assert list(files) == ["gallop", "trot", *MADE]
    assert all(OnnxPolicy.load(path) for path in files.values())
    mine = str(tmp_path / "mine.onnx")
    expected = {"mine": Path(mine), "trot": shipped / "trot.onnx"}
    assert gather((mine, "trot"), made, shipped) == expected
    with pytest.raises(StudyError, match="unknown policy 'tort'; known: gallop, trot"):
        gather(("tort",), made, shipped)
    for names in (("trot", str(shipped / "trot.onnx")), ("standing.onnx",)):
        with pytest.raises(StudyError, match="means two policies"):
            gather(names, made, shipped)


def test_every_condition_can_be_evaluated():
    assert len(CONDITIONS) == 14 + 2 * len(params_file.names()) + len(ground_conditions()) + 20
    for of in CONDITIONS.values():
        plant = {"plant": of.plant, "params": of.params, "terrain": of.terrain}
        Evaluation(**plant, randomization=of.randomization, push=of.push_n).check()


def test_a_calibrated_plant_is_a_condition_on_both_engines(shipped_plants, tmp_path, monkeypatch):
    """For real, and another calibration by the same name is another job."""
    file = write_plant(shipped_plants / "icy.json", {"contact_friction": 0.05})
    conditions = {of.name: of for of in calibrated_conditions(("icy",))}
    assert [(of.name, of.plant, of.params) for of in conditions.values()] == [
        ("icy", "pybullet", "icy"),
        ("mujoco-icy", "mujoco", "icy"),
    ]
    nominal = {name: CONDITIONS[name] for name in ("nominal", "mujoco")}
    monkeypatch.setattr(transfer, "CONDITIONS", nominal | conditions)
    study = Transfer(
        policies=("trot",), episodes=1, seconds=1.0, workers=0, results=tmp_path / "results"
    )
    jobs = study.jobs("abc")
    assert [job.name for job in jobs] == [
        "trot.nominal",
        "trot.mujoco",
        "trot.icy",
        "trot.mujoco-icy",
    ]
    assert ["params_sha256" in job.arguments for job in jobs] == [False, False, True, True]
    reports = [job.compute(lambda _: None) for job in jobs]
    for on_nominal, on_ice in zip(reports[:2], reports[2:], strict=True):
        assert on_ice["params"]["sha256"] == jobs[2].arguments["params_sha256"]
        assert on_nominal["params"] is None
        assert on_ice["speed_mps"]["mean"] < 0.5 * on_nominal["speed_mps"]["mean"]
    results = [
        Result(job.name, job.arguments, "abc", 1.0, report)
        for job, report in zip(jobs, reports, strict=True)
    ]
    paths = study.write(results, ["trot.other: not computed yet"], tmp_path / "out")
    page = paths[0].read_text()
    assert "| calibrated robot icy in MuJoCo (`mujoco-icy`) " in page
    write_plant(file, {"contact_friction": 0.06})
    other = study.jobs("abc")
    assert [job.arguments == was.arguments for job, was in zip(other, jobs, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_full_and_stock_plants_stand_like_the_merged_one():
    heights = {}
    for name in ("pybullet", "pybullet-full", "pybullet-stock"):
        plant = make_plant(name)
        plant.command(plant.robot.stance_pose_rad, plant.robot.kp, plant.robot.kd)
        plant.advance(1000)
        truth = plant.truth()
        heights[name] = truth.position_m[2]
        assert truth.tilt_rad < 0.05
        assert np.abs(plant.motor_truth()[0] - 2.0).max() < 0.25
        assert plant.engine.mass_kg == pytest.approx(7.473, abs=0.01)
        plant.close()
    assert heights["pybullet-full"] == pytest.approx(heights["pybullet"], abs=5e-4)
    assert heights["pybullet-stock"] == pytest.approx(heights["pybullet"], abs=5e-4)


def test_a_job_is_of_its_policys_bytes_and_of_its_condition(tmp_path):
    write_made("standing", tmp_path / "a.onnx")
    write_made("peer-trot", tmp_path / "b.onnx")
    study = Transfer(policies=(str(tmp_path / "a.onnx"),), results=tmp_path)
    before = study.jobs("abc")
    assert [job.name for job in before] == [f"a.{name}" for name in CONDITIONS]
    (tmp_path / "b.onnx").rename(tmp_path / "a.onnx")
    after = study.jobs("abc")
    texts = {json.dumps(job.arguments) for job in (*before, *after)}
    assert len(texts) == 2 * len(CONDITIONS)
    keys = {job.arguments["policy_sha256"] for job in before}
    assert len(keys) == 1


def result(policy, condition, survived, mean, p5, cost=0.7, **figures):
    report = {
        "episodes": 10,
        "survived": survived,
        "survival_rate": survived / 10,
        "speed_mps": {"mean": mean, "p5": p5, "min": p5},
        "mean_power_w": 40.0,
        "cost_of_transport": cost,
        "overheated": 2,
        "causes": {"fell": 10 - survived},
        "falls": [{"index": 3}],
        **figures,
    }
    arguments = {"policy": policy, "condition": condition, "push_n": CONDITIONS[condition].push_n}
    return Result(f"{policy}.{condition}", arguments, "abc1234", 9.5, report)


RESULTS = [
    result("a", "nominal", 10, 0.894, 0.851),
    result("a", "push130", 4, 0.5, 0.0),
    result("a", "push60", 9, 0.7, 0.6),
    result("a", "mujoco", 10, 0.8, 0.7),
    result("b", "nominal", 7, 0.004, -0.1, 9999.0, causes={"fell": 2, "tilt": 1}),
]


def test_table_figure_and_json_by_hand(tmp_path):
    Transfer().write(RESULTS, [], tmp_path)
    page = (tmp_path / "transfer.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    rows = [[text.strip() for text in row] for row in rows]
    assert rows[2] == [
        "identified robot (`nominal`)", "a", "10 of 10", "2", "0.89", "0.85", "40.0", "0.70",
        "abc1234",
    ]  # fmt: skip
    # A condition is named once. A robot that stands has no cost of transport. An end that is not a
    # fall is named.
    assert rows[3] == ["", "b", "7 of 10 (tilt 1)", "2", "0.00", "-0.10", "40.0", "-", "abc1234"]
    assert [row[0] for row in rows[4:]] == [
        "60 N every 1.2 s (`push60`)", "130 N every 1.2 s (`push130`)",
        "identified robot in MuJoCo (`mujoco`)",
    ]  # fmt: skip
    table = json.loads((tmp_path / "transfer.json").read_text())
    assert [row["name"] for row in table["results"]][:2] == ["a.nominal", "b.nominal"]
    assert "falls" not in table["results"][0]["figures"]
    for name, some in (("one", RESULTS[1:2]), ("none", [])):
        Transfer().draw(some, tmp_path / f"{name}.png")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("transfer", "one", "none")]
    assert sizes[0] > sizes[1] > sizes[2]


def test_survival_curve_starts_without_a_push():
    assert push_curve(RESULTS, "a") == [(0.0, 1.0), (60.0, 0.9), (130.0, 0.4)]
    assert push_curve(RESULTS, "b") == [(0.0, 0.7)]


def test_a_table_has_no_whole_reports(tmp_path):
    short = Result("a.nominal", RESULTS[0].arguments, "abc1234", 1.0, dict(RESULTS[0].figures))
    short.figures.pop("falls")
    with pytest.raises(StudyError, match=r"no whole report of a\.nominal"):
        Transfer(reports=tmp_path).write([short], [], tmp_path)


def test_killed_and_resumed_for_real(tmp_path, capsys):
    words = ["--policies", "standing", "peer-trot", "--conditions", "push220"]
    words += ["--episodes", "2", "--seconds", "2"]
    words += ["--results", str(tmp_path), "--reports", str(tmp_path / "reports")]
    command = [sys.executable, "-m", "studies.transfer", *words, "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        for _ in range(1500):
            if found := list(tmp_path.glob("*/standing.push220.*.json")):
                break
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)  # its worker ends with it
    written = found[0].stat().st_mtime_ns
    assert transfer.main([*words, "--workers", "0"]) == 0
    assert found[0].stat().st_mtime_ns == written
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("standing.push220: survived 0 of 2; motors off ")
    assert first.endswith(f" (done at {found[0].parent.name})")
    assert second == "2 results, 1 done before, 1 to go"
    reports = [json.loads(p.read_text()) for p in sorted((tmp_path / "reports").iterdir())]
    survived = 2 - len(reports[0]["falls"])
    assert last.startswith(f"1/1 peer-trot.push220: survived {survived} of 2; ")
    assert [report["policy"].rpartition("/")[2] for report in reports] == [
        "peer-trot.onnx",
        "standing.onnx",
    ]
    assert len(reports[1]["falls"]) == 2
    rows = json.loads((tmp_path / "transfer.json").read_text())["results"]
    assert [row["name"] for row in rows] == ["standing.push220", "peer-trot.push220"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policies", "no"], "unknown policy 'no'"),
        (["--conditions", "no"], "unknown conditions ['no']"),
        (["--policies", "absent.onnx"], "absent.onnx"),
        (["--episodes", "0"], "episodes must be positive"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, error_line):
    assert transfer.main([*options, "--results", str(tmp_path)]) == 2
    assert message in error_line()
