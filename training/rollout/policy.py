"""The acting policy as plain arrays: the one form in which a policy acts, travels and is exported.

A worker process imports this module, so it imports numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Scales raw observations: ``clip((raw - mean) / std, -clip, clip)``.

    Attributes:
        mean: Shape (O,), float32.
        std: Shape (O,), float32.
        clip: Bound on a scaled value.
    """

    mean: Array
    std: Array
    clip: float

    def __call__(self, raw: Array, out: Array | None = None) -> Array:
        """Return scaled observations, shape (..., O); written to ``out`` if it is given."""
        scaled = np.subtract(raw, self.mean, out=out)
        np.divide(scaled, self.std, out=scaled)
        np.maximum(scaled, -self.clip, out=scaled)
        return np.minimum(scaled, self.clip, out=scaled)


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """A Gaussian policy at one moment; later updates do not touch it.

    Attributes:
        normaliser: Scales a raw observation of size O.
        layers: Weight (outputs, inputs) and bias (outputs,) of each layer.
        activation: Nonlinearity of the hidden layers, ``relu`` or ``tanh``; the last has tanh.
        action_std: Standard deviation of the exploration, shape (A,).
    """

    normaliser: Normaliser
    layers: tuple[tuple[Array, Array], ...]
    activation: Literal["relu", "tanh"]
    action_std: Array


class NumpyPolicy:
    """Mean action for a raw observation, without allocation: some 10 us for two hidden layers."""

    def __init__(self, snapshot: PolicySnapshot) -> None:
        self._normaliser = snapshot.normaliser
        self._input = np.empty_like(snapshot.normaliser.mean)
        self._layers = tuple(
            (weight, bias, np.empty_like(bias)) for weight, bias in snapshot.layers
        )
        self._relu = snapshot.activation == "relu"

    def mean(self, observation: Array) -> Array:
        """Return the mean of the Gaussian, shape (A,): a buffer that the next call overwrites."""
        hidden = self._normaliser(observation, out=self._input)
        last = len(self._layers) - 1
        for i, (weight, bias, out) in enumerate(self._layers):
            # Not matmul: BLAS splits a matrix-vector product among however many threads the
            # process has, and with it the order of the sums. Row by row, the bits are the same
            # in the trainer and in a worker.
            np.vecdot(weight, hidden, out=out)
            np.add(out, bias, out=out)
            if self._relu and i < last:
                np.maximum(out, 0.0, out=out)
            else:
                np.tanh(out, out=out)
            hidden = out
        return hidden
