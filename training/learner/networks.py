"""The networks: a Gaussian policy, a value function, and the policy as it is deployed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from training.learner.normalization import RunningMoments
from training.rollout.episode import PolicySnapshot
from training.runs.presets import NetworkConfig
from training.tasks.symmetry import Mirror, Reflection

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def _mlp(
    sizes: tuple[int, ...], activation: str, last_variance: float, generator: torch.Generator
) -> list[nn.Module]:
    """Linear layers with nonlinearities between them, and none after the last.

    Hidden weights are normal with variance 2 / fan-in (He et al. 2015), the last layer's with
    ``last_variance`` / fan-in; biases are zero.
    """
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.Linear(inputs, outputs)
        variance = (last_variance if last else 2.0) / inputs
        nn.init.normal_(linear.weight, std=math.sqrt(variance), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, _ACTIVATIONS[activation]()]
    return layers


class GaussianPolicy(nn.Module):
    """Normal distribution over actions: a network's tanh mean, a state-independent log-std.

    With a mirror it is its own mirror image, whatever its weights: what it does in the mirror of a
    situation is the mirror of what it does in the situation. Its mean is then half of what the
    layers make of the observation and half of the mirror of what they make of its mirror, before
    the last tanh.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: NetworkConfig,
        generator: torch.Generator,
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        sizes = (observation_size, *config.policy_layers, action_size)
        layers = _mlp(sizes, config.activation, config.init_mean_factor, generator)
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.log_std = nn.Parameter(torch.full((action_size,), config.init_log_std))
        self._mirrors: tuple[Tensor, Tensor] | None = None
        if mirror is not None:
            self._mirrors = _matrix(mirror.observation), _matrix(mirror.action)

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action, shape (N, A), for standardised observations, shape (N, O)."""
        if self._mirrors is None:
            mean: Tensor = self.layers(observation)
            return mean
        seen, done = (matrix.to(observation) for matrix in self._mirrors)
        both = torch.cat((observation, observation @ seen.T))
        here, there = self.layers[:-1](both).tensor_split(2)
        return torch.tanh(0.5 * (here + there @ done.T))

    def constrain(self, min_log_std: float | None) -> None:
        """Puts the log-std back where it belongs after a gradient step."""
        with torch.no_grad():
            if self._mirrors is not None:
                swapped = self._mirrors[1].abs().to(self.log_std) @ self.log_std
                self.log_std.copy_(0.5 * (self.log_std + swapped))
            if min_log_std is not None:
                self.log_std.clamp_(min=min_log_std)

    def unfolded(self) -> nn.Sequential:
        """The mean as one plain perceptron: with a mirror, both halves side by side in it."""
        if self._mirrors is None:
            return self.layers
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        if len(linear) < 2:
            raise ValueError("a policy with a mirror needs a hidden layer")
        seen, done = (matrix.to(self.log_std) for matrix in self._mirrors)
        weights = [layer.weight.detach() for layer in linear]
        biases = [layer.bias.detach() for layer in linear]
        wide = [torch.cat((weights[0], weights[0] @ seen))]
        wide += [torch.kron(torch.eye(2).to(weight), weight) for weight in weights[1:-1]]
        wide.append(0.5 * torch.cat((weights[-1], done @ weights[-1]), dim=1))
        tall = [torch.cat((bias, bias)) for bias in biases[:-1]]
        tall.append(0.5 * (biases[-1] + done @ biases[-1]))
        pairs = iter(zip(wide, tall, strict=True))
        return nn.Sequential(
            *(_linear(*next(pairs)) if isinstance(x, nn.Linear) else x for x in self.layers)
        )


def _matrix(reflection: Reflection) -> Tensor:
    """A reflection of column vectors as a matrix, shape (N, N)."""
    matrix = torch.zeros(len(reflection.sign), len(reflection.sign))
    matrix[torch.arange(len(reflection.sign)), torch.from_numpy(reflection.source)] = (
        torch.from_numpy(reflection.sign)
    )
    return matrix


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    layer.weight.data, layer.bias.data = weight, bias
    return layer


class ValueFunction(nn.Module):
    """Expected discounted return, in units of the returns' standard deviation."""

    def __init__(
        self, observation_size: int, config: NetworkConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = (observation_size, *config.value_layers, 1)
        self.layers = nn.Sequential(*_mlp(sizes, config.activation, 1.0, generator))

    def forward(self, observation: Tensor) -> Tensor:
        """Values, shape (N,), of standardised observations, shape (N, O)."""
        value: Tensor = self.layers(observation)
        return value.squeeze(-1)


class Standardizer(nn.Module):
    """Raw observations to about unit scale, clipped: part of every exported policy."""

    mean: Tensor
    std: Tensor

    def __init__(self, moments: RunningMoments, clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(moments.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(moments.std, dtype=torch.float32))
        self.clip = clip

    def forward(self, observation: Tensor) -> Tensor:
        """Standardised observations, shape (N, O), of raw ones."""
        return ((observation - self.mean) / self.std).clamp(-self.clip, self.clip)


class DeterministicPolicy(nn.Module):
    """What is deployed: raw observation in, mean action out, the normaliser inside."""

    def __init__(self, standardizer: Standardizer, policy: GaussianPolicy) -> None:
        super().__init__()
        self.standardizer = standardizer
        self.layers = policy.unfolded()

    def forward(self, observation: Tensor) -> Tensor:
        """Action, shape (N, A), in [-1, 1], for raw observations, shape (N, O), float32."""
        action: Tensor = self.layers(self.standardizer(observation))
        return action


def snapshot(
    policy: GaussianPolicy, moments: RunningMoments, clip: float, activation: str
) -> PolicySnapshot:
    """The policy as plain arrays, which later updates do not touch."""
    linear = [layer for layer in policy.unfolded() if isinstance(layer, nn.Linear)]
    return PolicySnapshot(
        observation_mean=moments.mean.astype(np.float32),
        observation_std=moments.std.astype(np.float32),
        observation_clip=clip,
        weights=tuple(layer.weight.detach().cpu().numpy().copy() for layer in linear),
        biases=tuple(layer.bias.detach().cpu().numpy().copy() for layer in linear),
        activation=activation,
        action_std=policy.log_std.detach().cpu().exp().numpy(),
    )


def log_probability(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of a diagonal normal: (N, A), (N, A), (A,) to (N,)."""
    scaled = (action - mean) / log_std.exp()
    return -0.5 * (scaled.square() + math.log(2.0 * math.pi)).sum(-1) - log_std.sum()


def kl_divergence(old_mean: Tensor, old_log_std: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """KL of diagonal normals from the old one to the new: (N, A), (A,), (N, A), (A,) to (N,)."""
    variance = (2.0 * log_std).exp()
    spread = ((2.0 * old_log_std).exp() + (old_mean - mean).square()) / (2.0 * variance)
    return (log_std - old_log_std + spread - 0.5).sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """Differential entropy of a diagonal normal, a scalar."""
    return (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum()
