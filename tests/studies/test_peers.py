"""The peers' policies as policy files: against their formulas, and against their own memory."""

import math

import numpy as np
import pytest

from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.messages import RobotState
from studies.peers import peers
from studies.peers.bundle import read_tensors
from studies.peers.peers import PEERS, fold, write_peers
from training.errors import PeerError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_peers(tmp_path_factory.mktemp("peers"))


def state(rpy, gyro, motors):
    return RobotState(
        t_ns=0,
        motor_position_rad=np.asarray(motors, float),
        motor_velocity_rad_s=np.zeros(8),
        motor_torque_nm=np.zeros(8),
        rpy_rad=np.asarray(rpy, float),
        angular_rate_rad_s=np.asarray(gyro, float),
        battery_v=16.0,
    )


def test_observation_is_that_of_the_published_environments():
    pipeline = Pipeline(PEERS["peer-gallop"].contract)
    motors = [2.0, 1.9, 3.5, -3.5, math.pi, 7.0, 0.0, 1.0]
    seen = pipeline.observe(state((0.1, -0.2, math.pi / 2), (0.5, 0.25, 3.0), motors), 0.0)
    np.testing.assert_allclose(seen[:2], [0.1, -0.2], rtol=1e-6)
    # Rates about the world's axes, by the rotation in full.
    r, p = 0.1, -0.2
    roll = np.array([[1, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]])
    pitch = np.array([[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]])
    yaw = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(seen[2:4], (yaw @ pitch @ roll @ (0.5, 0.25, 3.0))[:2], rtol=1e-6)
    # Motor angles, absolute and wrapped to [-pi, pi).
    wrapped = [2.0, 1.9, 3.5 - 2 * math.pi, 2 * math.pi - 3.5, -math.pi, 7.0 - 2 * math.pi, 0, 1]
    np.testing.assert_allclose(seen[4:], wrapped, atol=1e-6)


def test_level_robot_needs_no_rotation():
    pipeline = Pipeline(PEERS["peer-trot"].contract)
    seen = pipeline.observe(state((0, 0, 0), (0.5, -0.25, 3.0), np.full(8, 2.0)), 0.0)
    assert seen.tolist() == [0.0, 0.0, 0.5, -0.25]


def their_mean(tensors, observation, bounds):
    """Range normaliser, standard normaliser, two layers with ReLU and one with tanh."""
    count = int(tensors["normalize_observ/Variable"])
    std = np.sqrt(tensors["normalize_observ/Variable_2"] / (count - 1) + 1e-4) + 1e-8
    x = np.clip((observation / bounds - tensors["normalize_observ/Variable_1"]) / std, -5, 5)
    for suffix in ("", "_1", "_2"):
        layer = f"network/rnn/policy/fully_connected{suffix}/"
        x = x @ tensors[layer + "weights"] + tensors[layer + "biases"]
        x = np.tanh(x) if suffix == "_2" else np.maximum(x, 0.0)
    return x


def tensors_of(peer):
    layers = [f"network/rnn/policy/fully_connected{s}/" for s in ("", "_1", "_2")]
    names = [layer + part for layer in layers for part in ("weights", "biases")]
    names += [f"normalize_observ/Variable{s}" for s in ("", "_1", "_2")]
    return read_tensors(peer.checkpoint, names)


@pytest.mark.parametrize("name", list(PEERS))
def test_policy_file_computes_their_formulas(files, name):
    peer, policy = PEERS[name], OnnxPolicy.load(files[name])
    rng = np.random.default_rng(0)
    turn = 2.0 * math.pi
    bounds = np.array([turn + 0.01] * 2 + [turn / 0.001 + 0.01] * 2 + [turn + 0.01] * 8)
    bounds = bounds[: len(peer.bounds)]
    np.testing.assert_allclose(peer.bounds, bounds)
    spread = np.array([0.2, 0.2, 400.0, 400.0] + [1.0] * 8)[: len(bounds)]  # past the clip, too
    tensors = tensors_of(peer)
    for row in rng.normal(0.0, spread, (200, len(bounds))):
        expected = their_mean(tensors, row, bounds)
        np.testing.assert_allclose(policy(row.astype(np.float32)), expected, atol=2e-4)


@pytest.mark.parametrize("name", list(PEERS))
def test_policy_file_answers_as_the_checkpoint_remembers(files, name):
    # A checkpoint still holds the last batch: observations, and the means before the last update.
    peer, policy = PEERS[name], OnnxPolicy.load(files[name])
    memory = read_tensors(peer.checkpoint, ["memory/Variable_1", "memory/Variable_3"])
    observations, means = (array[:, ::50].reshape(-1, array.shape[2]) for array in memory.values())
    raw = (observations * np.array(peer.bounds)).astype(np.float32)
    ours = np.stack([policy(row).copy() for row in raw])
    assert np.corrcoef(ours.ravel(), means.ravel())[0, 1] > 0.999
    assert np.abs(ours - means).mean() < 0.02


def test_trot_adds_its_feedback_to_the_papers_reference():
    pipeline = Pipeline(PEERS["peer-trot"].contract)
    t = 0.1  # theta = 4 pi t for the first diagonal
    swing, extension = 0.3 * math.sin(0.4 * math.pi), 0.35 * math.cos(0.4 * math.pi)
    expected = []
    for side, sign in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        s, e = sign * swing + 0.25, 2.0 + sign * extension - 0.125
        expected += [e - side * s, e + side * s]
    action = np.array([1.0] * 4 + [-0.5] * 4)
    np.testing.assert_allclose(pipeline.targets(action, t), expected, rtol=1e-12)
    # At once, without a ramp.
    np.testing.assert_allclose(pipeline.targets(np.zeros(8), 0.0)[:2], 2.35)


def test_gallop_moves_half_a_radian_about_the_stance():
    pipeline = Pipeline(PEERS["peer-gallop"].contract)
    action = np.array([1.0, 0, 0, 0, 0, 0, -1.0, 0])
    expected = [1.5, 2.5, 2.0, 2.0, 1.5, 1.5, 2.0, 2.0]
    np.testing.assert_allclose(pipeline.targets(action, 3.0), expected)


@pytest.mark.parametrize("name", list(PEERS))
def test_gains_and_period_are_theirs(files, name):
    contract = OnnxPolicy.load(files[name]).contract
    assert (contract.kp, contract.kd, contract.control_period_s) == (1.0, 0.015, 0.006)
    assert contract.provenance["source"].startswith("pybullet_data/policies/ppo/")


def test_writing_twice_gives_the_same_bytes(files, tmp_path):
    again = write_peers(tmp_path)
    assert [p.read_bytes() for p in again.values()] == [p.read_bytes() for p in files.values()]


def test_a_normaliser_of_another_size_is_refused():
    tensors = {"normalize_observ/Variable_1": np.zeros(5, np.float32)}
    with pytest.raises(PeerError, match="5 observations, expected 4"):
        fold(tensors, np.ones(4))


def test_without_pybullet_data_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("sys.argv", ["peers"])
    assert peers.main() == 2
    assert "install PyBullet" in capsys.readouterr().err
