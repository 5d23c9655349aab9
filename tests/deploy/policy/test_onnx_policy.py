"""Policy files: what fits runs, what does not is refused in one line."""

import dataclasses
import json

import numpy as np
import pytest
from onnx import TensorProto

from deploy.errors import ContractError, DeployError, PolicyError
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.robot import MINITAUR


def refused(path, kind, message):
    assert issubclass(kind, DeployError)
    with pytest.raises(kind, match=message) as caught:
        OnnxPolicy.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_policy_runs(write_policy, contract, batch):
    policy = OnnxPolicy.load(write_policy(bias=0.25, batch=batch))
    assert policy.contract == contract
    action = policy(np.zeros(4, np.float32))
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, np.full(8, 0.25))


def test_the_action_depends_on_the_observation(write_policy):
    weight = np.arange(32, dtype=np.float32).reshape(4, 8)
    policy = OnnxPolicy.load(write_policy(weight=weight, batch=1))
    for row in range(4):
        one_hot = np.eye(4, dtype=np.float32)[row]
        np.testing.assert_array_equal(policy(one_hot), weight[row])


def test_no_such_file_or_a_folder_is_refused(tmp_path):
    refused(tmp_path / "none.onnx", PolicyError, "no policy file")
    refused(tmp_path, PolicyError, "is no regular file")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(write_policy, keep):
    path = write_policy()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    refused(path, PolicyError, "not a whole policy file.*make export")


def test_garbage_is_refused(tmp_path):
    path = tmp_path / "garbage.onnx"
    path.write_bytes(bytes(range(256)) * 20)
    refused(path, PolicyError, "not a whole policy file")


def test_a_file_without_a_contract_is_refused_with_the_cure_and_one_with_a_broken_one(write_policy):
    refused(write_policy(text=None), PolicyError, "make export")
    refused(write_policy(text="{}"), ContractError, "contract format is None")


def test_another_robots_policy_is_refused(write_policy, contract):
    other = dataclasses.replace(MINITAUR, upper_link_m=0.11).hash()
    text = dataclasses.replace(contract, robot_hash=other).to_json()
    refused(write_policy(text=text), ContractError, "robot_hash differs")


def test_an_unknown_term_is_refused(write_policy, contract):
    data = json.loads(contract.to_json())
    data["observation"][0]["name"] = "yaw"
    refused(write_policy(text=json.dumps(data)), ContractError, "unknown observation term 'yaw'")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, r"input 'observation' has shape \['N', 5\], the contract needs .*4"),
        ({"outputs": 7}, r"output 'action' has shape \['N', 7\], the contract needs .*8"),
        ({"batch": 2}, r"has shape \[2, 4\]"),
        ({"input_name": "obs"}, r"node 0 \(Gemm\) does not take 'observation'"),
        ({"element": TensorProto.DOUBLE}, "constant 'weight' is not float32"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(write_policy, options, message):
    refused(write_policy(**options), DeployError, message)
