"""The networks: a Gaussian policy, a value function, and the densities of diagonal normals."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from training.rollout.policy import Normaliser, PolicySnapshot
from training.runs.config import NetworkConfig
from training.tasks.symmetry import Mirror, Reflection

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def _mlp(
    sizes: tuple[int, ...], activation: str, last_variance: float, generator: torch.Generator
) -> list[nn.Module]:
    """Make linear layers with nonlinearities between them, and none after the last.

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

    With a mirror the policy is its own mirror image, whatever its weights: the action for a
    mirrored observation is the mirrored action. Before the last tanh, its mean is half the output
    for the observation and half the mirrored output for the mirrored observation.
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
        self._activation = config.activation
        self.log_std = nn.Parameter(torch.full((action_size,), config.init_log_std))
        self._mirrors: tuple[Tensor, Tensor] | None = None
        if mirror is not None:
            self._mirrors = _matrix(mirror.observation), _matrix(mirror.action)

    def forward(self, observation: Tensor) -> Tensor:
        """Return mean actions, shape (N, A), for normalised observations, shape (N, O)."""
        if self._mirrors is None:
            mean: Tensor = self.layers(observation)
            return mean
        reflect, reflect_action = (matrix.to(observation) for matrix in self._mirrors)
        both = torch.cat((observation, observation @ reflect.T))
        plain, mirrored = self.layers[:-1](both).tensor_split(2)
        return torch.tanh(0.5 * (plain + mirrored @ reflect_action.T))

    def constrain(self, min_log_std: float | None) -> None:
        """Make the log-std symmetric and keep it above its floor, after a gradient step."""
        with torch.no_grad():
            if self._mirrors is not None:
                swapped = self._mirrors[1].abs().to(self.log_std) @ self.log_std
                self.log_std.copy_(0.5 * (self.log_std + swapped))
            if min_log_std is not None:
                self.log_std.clamp_(min=min_log_std)

    def snapshot(self, normaliser: Normaliser) -> PolicySnapshot:
        """Return the policy as plain arrays, which later updates do not touch.

        With a mirror both halves of the mean stand side by side in one plain perceptron.

        Raises:
            ValueError: A policy with a mirror has no hidden layer.
        """
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        weights = [layer.weight.detach() for layer in linear]
        biases = [layer.bias.detach() for layer in linear]
        if self._mirrors is not None:
            if len(linear) < 2:
                raise ValueError("a policy with a mirror needs a hidden layer")
            reflect, reflect_action = (matrix.to(self.log_std) for matrix in self._mirrors)
            first, *middle, last = weights
            weights = [torch.cat((first, first @ reflect))]
            weights += [torch.kron(torch.eye(2).to(weight), weight) for weight in middle]
            weights.append(0.5 * torch.cat((last, reflect_action @ last), dim=1))
            last_bias = 0.5 * (biases[-1] + reflect_action @ biases[-1])
            biases = [*(torch.cat((bias, bias)) for bias in biases[:-1]), last_bias]
        layers = zip(weights, biases, strict=True)
        return PolicySnapshot(
            normaliser=normaliser,
            layers=tuple((w.cpu().numpy().copy(), b.cpu().numpy().copy()) for w, b in layers),
            activation=self._activation,
            action_std=self.log_std.detach().cpu().exp().numpy(),
        )


def _matrix(reflection: Reflection) -> Tensor:
    """Return a reflection of column vectors as a matrix, shape (N, N)."""
    matrix = torch.zeros(len(reflection.sign), len(reflection.sign))
    matrix[torch.arange(len(reflection.sign)), torch.from_numpy(reflection.source)] = (
        torch.from_numpy(reflection.sign)
    )
    return matrix


class ValueFunction(nn.Module):
    """Expected discounted return, in units of the returns' standard deviation."""

    def __init__(
        self, observation_size: int, config: NetworkConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = (observation_size, *config.value_layers, 1)
        self.layers = nn.Sequential(*_mlp(sizes, config.activation, 1.0, generator))

    def forward(self, observation: Tensor) -> Tensor:
        """Return values, shape (N,), of normalised observations, shape (N, O)."""
        value: Tensor = self.layers(observation)
        return value.squeeze(-1)


def log_probability(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log density of a diagonal normal: (N, A), (N, A), (A,) to (N,)."""
    scaled = (action - mean) / log_std.exp()
    return -0.5 * (scaled.square() + math.log(2.0 * math.pi)).sum(-1) - log_std.sum()


def kl_divergence(old_mean: Tensor, old_log_std: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the KL from an old diagonal normal to a new: (N, A), (A,), (N, A), (A,) to (N,)."""
    variance = (2.0 * log_std).exp()
    spread = ((2.0 * old_log_std).exp() + (old_mean - mean).square()) / (2.0 * variance)
    return (log_std - old_log_std + spread - 0.5).sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """Return the differential entropy of a diagonal normal, a scalar."""
    return (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum()
