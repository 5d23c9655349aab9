"""The peers: the reader of TensorFlow checkpoints, and the policy files against their formulas."""

import itertools
import math
import shutil

import numpy as np
import pytest
from support.states import standing

from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from studies import peers
from studies.peers import PEERS, PeerError, fold, masked_crc32c, read_tensors, write_made

LOG_STD = "network/rnn/policy/logstd"


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the trot's checkpoint, to be damaged."""
    original = PEERS["peer-trot"].checkpoint
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(f"{original}{suffix}", tmp_path / f"b{suffix}")
    return tmp_path / "b"


def test_checksum_is_the_published_one():
    # CRC-32C of "123456789" is 0xE3069283; masked, that is rotated by 15 bits and shifted.
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_damaged_or_absent_shard_is_refused(checkpoint):
    shard = checkpoint.with_name("b.data-00000-of-00001")
    data = bytearray(shard.read_bytes())
    names = list(read_tensors(checkpoint))
    data[-1] ^= 1
    for damaged in (data, data[:-1]):
        shard.write_bytes(damaged)
        with pytest.raises(PeerError, match=r"checksum of '.*' does not fit"):
            read_tensors(checkpoint)
    # What lies elsewhere is read.
    assert len(read_tensors(checkpoint, LOG_STD.__eq__)) == 1 < len(names)
    shard.unlink()
    with pytest.raises(PeerError, match="cannot read"):
        read_tensors(checkpoint)


def test_no_byte_of_an_index_can_change_unseen(checkpoint):
    index = checkpoint.with_suffix(".index")
    good, before = index.read_bytes(), list(read_tensors(checkpoint))
    for at in range(len(good)):
        index.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        try:
            assert list(read_tensors(checkpoint)) == before
        except PeerError:
            continue
        # Of no use here: the meta index, of 13 bytes before the list of blocks, and the padding.
        assert len(good) - 81 <= at < len(good) - 68 or at >= len(good) - 48
    for size in range(0, len(good), 7):
        index.write_bytes(good[:size])
        with pytest.raises(PeerError):
            read_tensors(checkpoint)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    for name in PEERS:
        write_made(name, folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in PEERS}


def test_observation_is_that_of_the_published_environments():
    pipeline = Pipeline(PEERS["peer-gallop"].contract)
    motors = [2.0, 1.9, 3.5, -3.5, math.pi, 7.0, 0.0, 1.0]
    state = standing(
        rpy_rad=np.array((0.1, -0.2, math.pi / 2)),
        angular_rate_rad_s=np.array((0.5, 0.25, 3.0)),
        motor_position_rad=np.array(motors),
    )
    seen = pipeline.observe(state, 0.0)
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


@pytest.mark.parametrize(
    ("name", "sizes"), [("peer-trot", (4, 133, 100, 8)), ("peer-gallop", (12, 114, 45, 8))]
)
def test_policy_file_computes_their_formulas(name, sizes, files):
    peer, policy = PEERS[name], OnnxPolicy.load(files[name])
    tensors = read_tensors(peer.checkpoint)
    layers = [f"network/rnn/policy/fully_connected{s}/weights" for s in ("", "_1", "_2")]
    shapes = [tensors[layer].shape for layer in layers]
    assert shapes == list(itertools.pairwise(sizes))
    assert int(tensors["normalize_observ/Variable"]) == 7_000_000  # the paper's training
    rng = np.random.default_rng(0)
    turn = 2.0 * math.pi
    bounds = np.array([turn + 0.01] * 2 + [turn / 0.001 + 0.01] * 2 + [turn + 0.01] * 8)
    bounds = bounds[: sizes[0]]
    np.testing.assert_allclose(peer.bounds, bounds)
    spread = np.array([0.2, 0.2, 400.0, 400.0] + [1.0] * 8)[: sizes[0]]  # past the clip, too
    for row in rng.normal(0.0, spread, (200, sizes[0])):
        expected = their_mean(tensors, row, bounds)
        np.testing.assert_allclose(policy(row.astype(np.float32)), expected, atol=2e-4)


@pytest.mark.parametrize("name", list(PEERS))
def test_policy_file_answers_as_the_checkpoint_remembers(name, files):
    # A checkpoint still holds the last batch: observations, and the means before the last update.
    peer, policy = PEERS[name], OnnxPolicy.load(files[name])
    memory = read_tensors(peer.checkpoint, ["memory/Variable_1", "memory/Variable_3"].__contains__)
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
def test_gains_and_period_are_theirs_and_the_bytes_repeat(name, files, tmp_path):
    contract = OnnxPolicy.load(files[name]).contract
    assert (contract.kp, contract.kd, contract.control_period_s) == (1.0, 0.015, 0.006)
    assert contract.provenance["source"].startswith("pybullet_data/policies/ppo/")
    write_made(name, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == files[name].read_bytes()


def test_a_network_of_another_kind_is_refused():
    peer = PEERS["peer-trot"]
    tensors = read_tensors(peer.checkpoint)
    with pytest.raises(PeerError, match="4 observations, expected 5"):
        fold(tensors, np.ones(5))
    del tensors["network/rnn/policy/logstd"]
    with pytest.raises(PeerError, match=r"no variables \['network/rnn/policy/logstd'\]"):
        fold(tensors, np.array(peer.bounds))


def test_without_pybullet_data_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert peers.main(["--out", str(tmp_path)]) == 2
    assert "install PyBullet" in capsys.readouterr().err
