"""The shipped policies fit this stack, walk as recorded, and have the reports that they claim."""

import json
from pathlib import Path

import numpy as np
import pytest

from deploy.policy.onnx_policy import OnnxPolicy
from sim.plant.params_file import names, read_plant_file
from studies.readme import DOCUMENTS, GAIT_ALONE, up_to_date
from studies.transfer import CONDITIONS, calibrated_conditions
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.evaluation.report import summarize
from training.tasks.minitaur import (
    gallop_task,
    steer_stock_task,
    steer_task,
    trot_stock_task,
    trot_task,
    walk_task,
)
from training.tasks.symmetry import mirror_of
from training.train import Arguments, resolve

POLICIES = Path(__file__).parent.parent / "policies"
ROBOTS = "nominal,bound-2018,walk-2019"
# Task, and the configuration and the robots that made it.
TASKS = {
    "trot": (trot_task(), "trot", ROBOTS),
    "trot-stock": (trot_stock_task(), "trot_stock", None),
    "steer-stock": (steer_stock_task(), "steer_stock", None),
    "gallop": (gallop_task(), "gallop_sure", ROBOTS),
    "steer": (steer_task(), "steer", ROBOTS),
    "walk": (walk_task(), "walk_sure", None),
}
# For the Minitaur's own mainboard.
STOCK = ("trot-stock", "steer-stock")
# Reports of the whole protocol, and the short ones that are evaluated again here.
REPORTS = sorted(path.name for path in POLICIES.glob("*.json"))
SHORT = sorted((POLICIES / "short").glob("*.json"))
# What the walk is measured on, in either engine.
GROUNDS = ("ahead", "blocks40", "blocks20-table1", "shove130")
# Weights that differ by a millionth change these short episodes by 0.2 % at most, so what another
# processor rounds otherwise is well within 1 %.
TOLERANCE = 0.01


@pytest.mark.parametrize("name", TASKS)
def test_it_is_of_the_configuration_in_the_repository(name, tmp_path):
    contract = OnnxPolicy.load(POLICIES / f"{name}.onnx").contract
    task, named, robots = TASKS[name][0].contract, *TASKS[name][1:]
    config, _ = resolve(Arguments(config=named, params=robots, logdir=tmp_path))
    assert (contract.observation, contract.action) == (task.observation, task.action)
    assert contract.velocity_command == task.velocity_command
    training = contract.provenance["training"]
    assert training["total_steps"] == config.total_steps
    assert training["task_kwargs"] == json.loads(json.dumps(config.task_kwargs))
    assert training["network"]["init_log_std"] == config.network.init_log_std
    assert contract.provenance["steps"] >= config.total_steps


# These are not in the transfer table yet.
@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"walk", *STOCK}))
def test_the_transfer_table_is_of_this_file(name):
    results = json.loads((POLICIES.parent / "docs/results/transfer.json").read_text())["results"]
    of = [result["arguments"] for result in results if result["arguments"]["policy"] == name]
    digest = OnnxPolicy.load(POLICIES / f"{name}.onnx").digest
    assert {arguments["policy_sha256"] for arguments in of} == {digest}


@pytest.mark.parametrize("name", TASKS)
def test_it_is_its_own_mirror_image(name):
    policy = OnnxPolicy.load(POLICIES / f"{name}.onnx")
    mirror = mirror_of(policy.contract)
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = rng.normal(0.0, 0.3, len(mirror.observation.sign)).astype(np.float32)
        here = policy(seen).copy()
        there = policy(mirror.observation(seen)).copy()
        np.testing.assert_allclose(there, mirror.action(here), atol=1e-4)


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_it_walks_as_recorded(path):
    recorded = json.loads(path.read_text())
    job = Evaluation(
        policy=POLICIES / f"{path.stem.partition('.')[0]}.onnx",
        plant=recorded["plant"],
        randomization=recorded["randomization"],
        push=recorded["push_n"],
        episodes=recorded["episodes"],
        seconds=recorded["seconds"],
        seed=recorded["seed"],
        workers=0,
    )
    report = summarize(job, list(evaluate(job)))
    assert report["survived"] == recorded["survived"] == recorded["episodes"]
    for name in ("speed_mps", "mean_power_w", "cost_of_transport"):
        assert report[name] == pytest.approx(recorded[name], rel=TOLERANCE), name


def test_every_policy_has_its_reports():
    kinds = {"nominal", "table1", "push130", "mujoco", "mujoco-table1"}
    kinds |= {condition.name for condition in calibrated_conditions(names())}
    others = TASKS.keys() - {"walk", *STOCK}
    expected = {f"{name}.{kind}.json" for name in others for kind in kinds}
    simulated = (
        kinds - {"push130"} - {condition.name for condition in calibrated_conditions(names())}
    )
    expected |= {f"{name}.{kind}.json" for name in STOCK for kind in simulated}
    expected |= {f"walk.{engine}{ground}.json" for ground in GROUNDS for engine in ("", "mujoco-")}
    assert set(REPORTS) == expected | {f"{name}.reference.json" for name in GAIT_ALONE}
    expected = {f"{name}.{kind}" for name in TASKS for kind in ("table1", "push130", "mujoco")}
    assert {path.stem for path in SHORT} == expected


@pytest.mark.parametrize("file", REPORTS)
def test_reports_are_of_the_whole_protocol(file):
    report = json.loads((POLICIES / file).read_text())
    name, kind, _ = file.split(".")
    condition = CONDITIONS[GAIT_ALONE[name] if kind == "reference" else kind]
    # On one robot, which nobody shoves, an episode is much like another.
    fixed = condition.params or kind in ("nominal", "mujoco")
    episodes = 20 if fixed and name not in ("walk", "trot-stock") else 100
    assert (report["episodes"], report["seconds"], report["seed"]) == (episodes, 20.0, 0)
    digest = None if condition.params is None else read_plant_file(condition.params).sha256
    assert (report.get("params") or {}).get("sha256") == digest
    of = report["plant"], report["randomization"], report["push_n"]
    assert of == (condition.plant, condition.randomization, condition.push_n)
    assert report.get("terrain", "flat") == condition.terrain
    if condition.course is not None:
        assert report["course"] == condition.course
    assert report["policy"] == f"policies/{name}.onnx"
    assert report["reference_only"] == (kind == "reference")
    assert report["survived"] == episodes - len(report["falls"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_generated_tables_are_up_to_date(path, monkeypatch):
    monkeypatch.chdir(POLICIES.parent)
    assert "<!-- generated: " in path.read_text()
    assert path.read_text() == up_to_date(path), "run: make reports, or python -m studies.readme"
