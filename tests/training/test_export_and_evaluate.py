"""From a checkpoint to a policy file to a report: a real, tiny training run underneath."""

import dataclasses
import json
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.commands import assert_one_line, python
from support.processes import ROOT, ForkedProcess, run_script
from support.training import files_limited_to

from deploy import run
from deploy.errors import ContractError
from deploy.policy.contract import METADATA_KEY, Contract
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import term_resolution
from sim.errors import ParameterError
from sim.plant.params import PlantParams
from training.errors import CheckpointError, EvaluationError, ExportError
from training.evaluate import evaluate
from training.evaluate import main as evaluate_main
from training.evaluation.job import Evaluation
from training.evaluation.report import describe, save_report, summarize
from training.export import TOLERANCE, export, write_policy
from training.export import main as export_main
from training.rollout.policy import Normaliser, NumpyPolicy
from training.runs.checkpoint import load_policy
from training.runs.presets import get_config
from training.runs.trainer import make_learner
from training.tasks.env import LocomotionEnv
from training.tasks.minitaur import make_trot, trot_task
from training.train import train

# The run is too short for every term to vary.
pytestmark = pytest.mark.filterwarnings("ignore:observation term .* hardly varied")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny-trot"
    config = dataclasses.replace(
        get_config("trot"),
        total_steps=60,
        episodes_per_update=2,
        eval_episodes=1,
        task_kwargs={"randomization": "table1", "episode_s": 0.5},
        workers=0,
        torch_threads=1,
    )
    scores = list(train(config, folder))
    assert scores
    return folder


@pytest.fixture(scope="module")
def exported(run_dir):
    return export(run_dir, run_dir / "policy.onnx")


def test_file_equals_the_policy_and_carries_its_normaliser(run_dir, exported):
    policy = load_policy(run_dir).policy
    assert float(policy.normaliser.std.max()) != 1.0  # the normaliser has learned something
    session = onnxruntime.InferenceSession(
        exported.path.read_bytes(), providers=["CPUExecutionProvider"]
    )
    observations = np.random.default_rng(1).normal(0.0, 2.0, (500, 16)).astype(np.float32)
    (ours,) = session.run(None, {"observation": observations})
    act = NumpyPolicy(policy).mean
    theirs = np.stack([act(row).copy() for row in observations])
    assert np.abs(ours - theirs).max() <= TOLERANCE
    assert exported.max_difference <= TOLERANCE
    assert exported.observations > 1000  # random ones, and the policy's own


def test_contract_says_where_the_policy_comes_from(exported):
    metadata = onnx.load(exported.path).metadata_props
    (text,) = (entry.value for entry in metadata if entry.key == METADATA_KEY)
    contract = Contract.from_json(text)
    assert contract == exported.contract
    assert contract.provenance["seed"] == 0
    assert contract.provenance["training"]["task"] == "MinitaurStack/Trot-v0"
    assert contract.provenance["task"] == {"episode_s": 6.0, "top_speed_mps": 1.3}
    assert contract.provenance["versions"]["torch"].startswith("2.")
    assert contract.provenance["last_score"] is not None


def test_deploys_own_loader_runs_it(exported):
    action = OnnxPolicy.load(exported.path)(np.zeros(16, dtype=np.float32))
    assert action.shape == (8,)
    assert np.abs(action).max() <= 1.0


def test_nothing_is_written_when_it_differs(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("training.export.TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="differ by"):
        export(run_dir, tmp_path / "bad.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_robot_or_a_checkpoint_is_refused(tmp_path):
    pendulum = get_config("pendulum")
    short = {"total_steps": 1, "episodes_per_update": 1, "eval_episodes": 1}
    list(train(dataclasses.replace(pendulum, **short), tmp_path / "run"))
    with pytest.raises(ExportError, match="no robot contract"):
        export(tmp_path / "run", tmp_path / "pendulum.onnx")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        export(tmp_path, tmp_path / "x.onnx")


def test_the_figures_do_not_depend_on_the_workers(exported):
    job = Evaluation(
        policy=exported.path, randomization="table1", episodes=3, seconds=0.5, workers=0
    )
    alone = summarize(job, list(evaluate(job)))
    shared = summarize(job, list(evaluate(dataclasses.replace(job, workers=2))))
    assert alone == shared
    other = dataclasses.replace(job, seed=1)
    assert summarize(other, list(evaluate(other)))["speed_mps"] != alone["speed_mps"]


def test_the_plant_is_a_choice(exported):
    job = Evaluation(policy=exported.path, episodes=1, seconds=0.5, workers=0)
    reports = [
        summarize(chosen, list(evaluate(chosen)))
        for chosen in (job, dataclasses.replace(job, plant="mujoco"))
    ]
    assert [report["plant"] for report in reports] == ["pybullet", "mujoco"]
    assert reports[0]["mean_power_w"] != reports[1]["mean_power_w"]


@pytest.mark.parametrize("far", [1e20, -np.inf, np.nan])
def test_a_simulation_that_diverged_is_a_failure_and_spoils_no_mean(exported, monkeypatch, far):
    metrics = LocomotionEnv._metrics

    def diverged(env, *ends):
        return metrics(env, *ends) | {"distance_m": far, "drift_m": far, "mean_power_w": 1e300}

    monkeypatch.setattr(LocomotionEnv, "_metrics", diverged)
    job = Evaluation(exported.path, episodes=2, seconds=0.3, workers=0)
    report = summarize(job, list(evaluate(job)))
    assert report["survived"] == 0
    assert report["causes"] == {"diverged": 2}
    assert "randomization none: 0 of 2 survived 0.3 s (2 diverged); " in describe(job, report)
    assert report["speed_mps"]["mean"] == report["mean_power_w"] == 0.0


def test_the_ground_is_a_choice(exported):
    job = Evaluation(
        exported.path, episodes=2, seconds=0.3, workers=0, terrain="blocks30+slope10-up"
    )
    results = list(evaluate(job))
    assert {result.params["block_height_m"] for result in results} == {0.03}
    report = summarize(job, results)
    assert report["terrain"] == "blocks30+slope10-up"
    assert "randomization none, terrain blocks30+slope10-up: 2 of 2" in describe(job, report)
    ice = dataclasses.replace(job, terrain="ice", randomization="table1")
    assert {result.params["contact_friction"] for result in evaluate(ice)} == {0.25}
    with pytest.raises(ParameterError, match="unknown terrain 'hill'"):
        dataclasses.replace(job, terrain="hill").check()


def test_the_reference_alone_is_the_gait_with_a_network_of_zeros(exported):
    job = Evaluation(policy=exported.path, episodes=1, seconds=0.6, workers=0)
    alone = next(evaluate(dataclasses.replace(job, reference_only=True)))
    env = make_trot(episode_s=0.6)
    env.reset(options={"params": PlantParams(**alone.params)})
    for _ in range(100):
        info = env.step(np.zeros(8, dtype=np.float32))[4]
    env.close()
    assert info["metrics"]["distance_m"] == alone.distance_m
    assert next(evaluate(job)).distance_m != alone.distance_m
    report = summarize(dataclasses.replace(job, reference_only=True), [alone])
    assert report["reference_only"] is True


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path, error_line):
    (tmp_path / "file").write_text("")
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "r", "Not a directory")):
        assert evaluate_main(["--report", str(path)]) == 2
        assert why in error_line()


def test_a_report_is_not_lost_when_the_disk_fills_up_meanwhile(tmp_path, capsys):
    report, path = {"survived": 3}, tmp_path / "r.json"
    assert save_report(report, path) == 0
    assert json.loads(path.read_text()) == report
    assert save_report(report, path / "below.json") == 1  # its folder is gone
    printed = capsys.readouterr()
    elsewhere = Path(printed.out.splitlines()[-1].removeprefix("wrote "))
    assert json.loads(elsewhere.read_text()) == report
    assert printed.err.endswith(f": wrote {elsewhere}\n")
    elsewhere.unlink()
    with files_limited_to(5):
        assert save_report(report, path) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == report
    assert_one_line(printed.err, f"cannot write {path} (File too large), nor elsewhere (")


def test_report_by_hand(exported):
    job = Evaluation(policy=exported.path, episodes=2, seconds=0.5, workers=0, push=60.0)
    results = list(evaluate(job))
    fallen = dataclasses.replace(results[1], survived=False, speed_mps=0.0, mean_power_w=50.0)
    standing = dataclasses.replace(results[0], speed_mps=0.4, mean_power_w=30.0)
    report = summarize(job, [standing, fallen])
    assert report["survived"] == 1
    assert report["survival_rate"] == 0.5
    assert report["speed_mps"] == pytest.approx({"mean": 0.2, "p5": 0.02, "min": 0.0})
    assert report["mean_power_w"] == 40.0
    assert [fall["index"] for fall in report["falls"]] == [1]
    assert [each["survived"] for each in report["each_episode"]] == [True, False]
    assert [each["mean_power_w"] for each in report["each_episode"]] == [30.0, 50.0]
    assert report["falls"][0]["params"]["push_force_high_n"] == 60.0
    # P / (m g v) at 7.47 kg
    assert results[0].cost_of_transport == pytest.approx(
        results[0].mean_power_w / (9.81 * 7.473 * max(results[0].speed_mps, 1e-3)), rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plant": "moon"}, "unknown plant 'moon'; known: pybullet, mujoco"),
        ({"plant": "emulator", "randomization": "lost"}, "is of the simulator's line"),
        ({"randomization": "table9"}, "known: none, table1"),
        ({"model": "spot"}, "known: minitaur_rainbow_dash"),
        ({"episodes": 0}, "episodes and seconds must be positive"),
    ],
)
def test_impossible_evaluations_are_refused(change, message):
    with pytest.raises(EvaluationError, match=message):
        next(evaluate(dataclasses.replace(Evaluation(), **change)))


def test_command_lines_end_to_end(run_dir, tmp_path, capsys):
    policy, report = tmp_path / "p.onnx", tmp_path / "r.json"
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as for a user
        assert export_main(["--run", str(run_dir), "--out", str(policy)]) == 0
    printed = capsys.readouterr()
    assert "onnxruntime equals torch" in printed.out
    assert printed.err.startswith("warning: observation term 'recent_turn' hardly varied in train")
    words = ["--report", str(report), "--episodes", "1", "--seconds", "0.3", "--workers", "0"]
    assert evaluate_main([*words, "--policy", str(policy)]) == 0
    assert json.loads(report.read_text())["episodes"] == 1
    capsys.readouterr()
    assert evaluate_main([*words, "--policy", str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx" in capsys.readouterr().err


def test_a_term_that_did_not_vary_in_training_is_warned_of(tmp_path):
    contract, std = trot_task().contract, np.ones(16, np.float32)
    std[4] = 1e-4  # yaw_rate, behind roll_pitch and roll_pitch_rate
    layer = (np.zeros((8, 16), np.float32), np.zeros(8, np.float32))
    normaliser = Normaliser(np.zeros(16, np.float32), std, 5.0)
    with pytest.warns(UserWarning, match="'yaw_rate' hardly varied.* the 0.05 that") as caught:
        write_policy([layer], normaliser, contract, tmp_path / "p.onnx")
    assert len(caught) == 1


def test_training_scales_what_did_not_vary_by_its_resolution():
    learner = make_learner(get_config("trot"))
    floor = learner.state()["observation_moments"]["floor"]
    np.testing.assert_array_equal(floor, term_resolution(trot_task().contract))


def test_writing_a_policy_from_arrays_needs_no_torch(tmp_path):
    script = (
        "import sys, numpy as np; from pathlib import Path;"
        "from training.export import write_policy;"
        "from training.rollout.policy import Normaliser;"
        "from training.tasks.minitaur import trot_task;"
        "norm = Normaliser(np.zeros(16, np.float32), np.ones(16, np.float32), 5.0);"
        "layer = (np.zeros((8, 16), np.float32), np.full(8, 0.5, np.float32));"
        "write_policy([layer], norm, trot_task().contract, Path(sys.argv[1]), squash=False);"
        "assert 'torch' not in sys.modules"
    )
    path = tmp_path / "p.onnx"
    python("-c", script, path, check=True)
    action = OnnxPolicy.load(path)(np.zeros(16, np.float32))
    np.testing.assert_array_equal(action, np.full(8, 0.5, np.float32))


def test_arrays_that_do_not_fit_the_contract_leave_no_file(tmp_path):
    normaliser = Normaliser(np.zeros(3, np.float32), np.ones(3, np.float32), 5.0)
    layer = (np.zeros((8, 3), np.float32), np.zeros(8, np.float32))
    with pytest.raises(ContractError, match=r"shape \['N', 3\], the contract needs \[1 or N, 16\]"):
        write_policy([layer], normaliser, trot_task().contract, tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_example_brings_a_stable_baselines3_policy_to_the_loop(tmp_path):
    out = tmp_path / "sb3.onnx"
    script = ROOT / "docs" / "examples" / "sb3_policy.py"
    process = ForkedProcess(tmp_path, run_script, script, "--steps", 512, "--out", out)
    code, printed, errors = process.wait()
    assert code == 0, errors
    assert float(re.search(r"within (\S+)", printed)[1]) < TOLERANCE
    report = tmp_path / "run.json"
    options = ["--no-realtime", "--no-plot", "--seconds", "1", "--report", str(report)]
    assert run.main(["--policy", str(out), *options]) == 0
    assert json.loads(report.read_text())["faults"] == []
