"""What lies in policies/ fits this stack, walks, and comes with the reports that it claims."""

import json
from pathlib import Path

import numpy as np
import pytest

from deploy.policy.onnx_policy import OnnxPolicy
from training.evaluate.evaluate import Evaluation, evaluate
from training.runs.presets import get_config
from training.tasks.minitaur import gallop_task, steer_task, trot_task
from training.tasks.symmetry import mirror_of

POLICIES = Path(__file__).parent.parent / "policies"
# Task, and the configuration that made it.
TASKS = {
    "trot": (trot_task(), "trot"),
    "gallop": (gallop_task(), "gallop_sure"),
    "steer": (steer_task(), "steer"),
}
RENAMED = {"haste": "over_speed"}
# Kind of a report, as its file is named, to what the READMEs call it, and the protocol that it must
# be of: plant, randomization and push in N.
REPORTS = {
    "nominal": ("nominal", "pybullet", "none", 0.0),
    "table1": ("all of Table I, drawn anew for every episode", "pybullet", "table1", 0.0),
    "push60": (
        "nominal, shoved with 60 N for 60 ms every 1.2 s from any side",
        "pybullet",
        "none",
        60.0,
    ),
    "mujoco": ("MuJoCo, nominal", "mujoco", "none", 0.0),
    "mujoco-table1": ("MuJoCo, all of Table I", "mujoco", "table1", 0.0),
    "reference": ("Table I, its reference gait alone", "pybullet", "table1", 0.0),
}
REPORTED = [
    *((name, kind) for name in TASKS for kind in REPORTS if kind != "reference"),
    ("trot", "reference"),
]


@pytest.mark.parametrize("name", TASKS)
def test_it_is_of_the_configuration_in_the_repository(name):
    contract = OnnxPolicy.load(POLICIES / f"{name}.onnx").contract
    task, config = TASKS[name][0].contract, get_config(TASKS[name][1])
    assert (contract.observation, contract.action) == (task.observation, task.action)
    assert contract.velocity_command == task.velocity_command
    training = contract.provenance["training"]
    assert training["total_steps"] == config.total_steps
    recorded = dict(training["task_kwargs"])
    # The shipped policies recorded the weights that differed from their task's, one of them under
    # another name, and the task's own top speed and length.
    weights = {RENAMED.get(term, term): w for term, w in recorded.pop("reward", {}).items()}
    assert weights.items() <= config.task_kwargs["reward"].items()
    for field in ("top_speed_mps", "episode_s"):
        assert recorded.pop(field, getattr(TASKS[name][0], field)) == getattr(TASKS[name][0], field)
    assert {**recorded, "reward": config.task_kwargs["reward"]} == config.task_kwargs
    assert training["network"]["init_log_std"] == config.network.init_log_std
    assert contract.provenance["steps"] >= config.total_steps


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


@pytest.mark.parametrize(
    ("name", "least_mps", "most_w"), [("trot", 0.8, 60.0), ("gallop", 1.0, 188.0)]
)
def test_it_walks_on_drawn_plants(name, least_mps, most_w):
    job = Evaluation(
        policy=POLICIES / f"{name}.onnx", randomization="table1", episodes=8, seconds=4.0, workers=0
    )
    results = list(evaluate(job))
    assert all(result.survived for result in results)
    assert np.mean([result.speed_mps for result in results]) > least_mps
    assert np.mean([result.mean_power_w for result in results]) < most_w


@pytest.mark.parametrize(("name", "kind"), REPORTED)
def test_reports_are_of_the_whole_protocol(name, kind):
    report = json.loads((POLICIES / f"{name}.{kind}.json").read_text())
    assert (report["episodes"], report["seconds"], report["seed"]) == (100, 20.0, 0)
    assert (report["plant"], report["randomization"], report["push_n"]) == REPORTS[kind][1:]
    assert report["policy"] == f"policies/{name}.onnx"
    assert report["reference_only"] == (kind == "reference")
    assert report["survived"] == 100 - len(report["falls"])


def row_of_the_table(report, name, speed_digits):
    """What the READMEs have to say of a report."""
    cells = [name, f"{report['survived']} of {report['episodes']}"]
    if report.get("speed_error_mps") is not None:
        errors = report["speed_error_mps"], report["yaw_rate_error_rad_s"]
        cells += [f"{error:.3f}" for error in errors] + [f"{report['mean_power_w']:.1f}"]
    else:
        speed = report["speed_mps"]
        cells += [f"{speed[of]:.{speed_digits}f}" for of in ("mean", "p5")]
        cells += [f"{report['mean_power_w']:.1f}", f"{report['cost_of_transport']:.2f}"]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.json")), ids=lambda path: path.stem)
def test_the_readmes_say_what_the_reports_say(path):
    name, kind = path.stem.split(".")
    report = json.loads(path.read_text())
    row = row_of_the_table(report, REPORTS[kind][0], 3)
    assert row in (POLICIES / "README.md").read_text()
    if name == "trot":
        row = row_of_the_table(report, REPORTS[kind][0], 2)
        assert row in (POLICIES.parent / "README.md").read_text()


@pytest.mark.parametrize("name", ["trot", "steer", "gallop", "standing", "peer-gallop"])
def test_the_readmes_shoves_are_the_transfer_tables(name):
    root = POLICIES.parent
    cells = json.loads((root / "docs/results/transfer.json").read_text())["cells"]
    stayed_up = {(cell["policy"], cell["condition"]): cell["survived"] for cell in cells}
    forces_n = (60, 90, 130, 175, 220)
    figures = [str(stayed_up[name, f"push{force_n}"]) for force_n in forces_n]
    assert f"| {' | '.join((f'`{name}`', *figures))} |" in (root / "README.md").read_text()
