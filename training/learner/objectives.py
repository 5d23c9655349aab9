"""The two objectives of PPO (Schulman et al. 2017, arXiv 1707.06347), as losses over samples."""

from __future__ import annotations

import torch
from torch import Tensor

from training.runs.presets import KlPenaltyObjective


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Loss of the clipped objective: no gain from a ratio beyond 1 +- ``clip_range``."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def kl_penalised(
    log_ratio: Tensor,
    advantages: Tensor,
    kl: Tensor,
    penalty: float,
    objective: KlPenaltyObjective,
) -> Tensor:
    """Loss of the KL-penalty objective; ``kl`` is the mean over the samples."""
    excess = (kl - objective.cutoff_factor * objective.target).clamp(min=0.0)
    surrogate = -(log_ratio.exp() * advantages).mean()
    return surrogate + penalty * kl + objective.cutoff_coef * excess.square()
