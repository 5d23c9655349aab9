"""What lies in policies/ fits this stack, walks, and comes with the report that it claims."""

import json
from pathlib import Path

import pytest

from deploy.policy import OnnxPolicy
from training.configs import get_config
from training.evaluate import Evaluation, evaluate
from training.tasks.minitaur import trot_task

POLICIES = Path(__file__).parent.parent / "policies"


def test_trot_is_of_the_configuration_in_the_repository():
    contract = OnnxPolicy.load(POLICIES / "trot.onnx").contract
    task = trot_task().contract
    assert (contract.observation, contract.action) == (task.observation, task.action)
    training = contract.provenance["training"]
    config = get_config("trot")
    assert training["total_steps"] == config.total_steps
    assert training["network"]["init_log_std"] == config.network.init_log_std
    assert contract.provenance["steps"] >= config.total_steps


def test_trot_walks_on_drawn_plants():
    job = Evaluation(
        policy=POLICIES / "trot.onnx", randomization="table1", episodes=3, seconds=4.0, workers=0
    )
    for result in evaluate(job):
        assert result.survived
        assert result.speed_mps > 0.4
        assert result.mean_power_w < 60.0


@pytest.mark.parametrize("randomization", ["none", "table1"])
def test_reports_are_of_the_whole_protocol(randomization):
    report = json.loads((POLICIES / f"trot.{randomization}.json").read_text())
    assert (report["episodes"], report["seconds"], report["seed"]) == (100, 20.0, 0)
    assert report["randomization"] == randomization
    assert report["survived"] == 100 - len(report["falls"])
