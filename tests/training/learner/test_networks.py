import math

import numpy as np
import pytest
import torch

from training.learner.networks import (
    GaussianPolicy,
    entropy,
    kl_divergence,
    log_probability,
)
from training.learner.normalization import RunningMoments
from training.rollout.policy import NumpyPolicy
from training.runs.config import NetworkConfig
from training.tasks.minitaur import trot_task
from training.tasks.symmetry import mirror_of


@pytest.mark.parametrize("layers", [(), (7,), (9, 6), (5, 6, 7)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_snapshot_acts_as_the_network_does(
    layers: tuple[int, ...], activation: str, mirrored: bool
) -> None:
    mirror = mirror_of(trot_task().contract)
    size, mirrored = len(mirror.observation.sign), mirrored and bool(layers)
    config = NetworkConfig(layers, activation=activation, init_mean_factor=1.0, mirror=mirrored)
    generator = torch.Generator().manual_seed(1)
    policy = GaussianPolicy(size, 8, config, generator, mirror if mirrored else None)
    raw = np.random.default_rng(1).normal(1.0, 3.0, (200, size)).astype(np.float32)
    normaliser = RunningMoments.empty(size).merged(raw[:100]).normaliser(2.0)
    acting = NumpyPolicy(policy.snapshot(normaliser))
    mine = np.stack([acting.mean(row).copy() for row in raw])
    mean, std = raw[:100].mean(axis=0), raw[:100].std(axis=0)
    scaled = torch.from_numpy(((raw - mean) / std).clip(-2.0, 2.0))
    theirs = policy(scaled).detach().numpy()
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_snapshot_does_not_follow_later_updates() -> None:
    policy = GaussianPolicy(5, 1, NetworkConfig((4,)), torch.Generator())
    taken = policy.snapshot(RunningMoments.empty(5).normaliser(5.0))
    before = taken.layers[0][0].copy(), taken.action_std.copy()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 1.0
    np.testing.assert_array_equal(taken.layers[0][0], before[0])
    np.testing.assert_array_equal(taken.action_std, before[1])


def test_the_first_policy_is_nearly_zero_and_follows_from_the_generator() -> None:
    def make() -> GaussianPolicy:
        return GaussianPolicy(12, 8, NetworkConfig(), torch.Generator().manual_seed(7))

    observation = torch.randn(1000, 12, generator=torch.Generator().manual_seed(0))
    assert make()(observation).abs().mean() < 0.4
    assert torch.equal(make()(observation), make()(observation))


def test_densities_agree_with_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    old_mean, mean, action = torch.randn(3, 10, 4, generator=generator)
    old_log_std, log_std = torch.randn(2, 4, generator=generator)
    normal = torch.distributions.Normal
    new, old = normal(mean, log_std.exp()), normal(old_mean, old_log_std.exp())
    close = {"atol": 1e-5, "rtol": 1e-5}
    expected = new.log_prob(action).sum(-1)
    torch.testing.assert_close(log_probability(action, mean, log_std), expected, **close)
    kl = torch.distributions.kl_divergence(old, new).sum(-1)
    torch.testing.assert_close(kl_divergence(old_mean, old_log_std, mean, log_std), kl, **close)
    torch.testing.assert_close(entropy(log_std), new.entropy()[0].sum(), **close)
    assert entropy(torch.zeros(1)).item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e))


def test_a_policy_with_a_mirror_is_its_own_mirror_image() -> None:
    mirror = mirror_of(trot_task().contract)
    generator = torch.Generator().manual_seed(1)
    config = NetworkConfig((9, 6), init_mean_factor=1.0, mirror=True)
    policy = GaussianPolicy(len(mirror.observation.sign), 8, config, generator, mirror)
    rows = torch.randn(20, len(mirror.observation.sign), generator=generator)
    mean = policy(rows).detach()
    reflected = policy(torch.from_numpy(mirror.observation(rows.numpy()))).detach().numpy()
    reflected = torch.from_numpy(mirror.action(reflected))
    torch.testing.assert_close(reflected, mean, rtol=0.0, atol=1e-6)
    policy.log_std.data[0] += 1.0
    policy.constrain(None)
    assert policy.log_std[0].item() == policy.log_std[2].item()
    assert policy.log_std[0].item() == pytest.approx(config.init_log_std + 0.5)
