"""Returns and advantages of one episode.

An episode ends in one of two ways, and they must not be confused. After a termination nothing
follows, so the value of what follows is 0. A time-out is the experimenter's doing: the task would
have gone on, so the return goes on with the value of the observation after the last step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def discounted_sums(
    terms: NDArray[Any], discount: float, beyond: float = 0.0
) -> NDArray[np.float64]:
    """``out[t] = terms[t] + discount * out[t + 1]``, with ``beyond`` after the last, shape (T,)."""
    out = np.empty(len(terms))
    # Python floats: several times faster than indexing numpy scalars.
    total = beyond
    for t, term in zip(range(len(terms) - 1, -1, -1), reversed(terms.tolist()), strict=True):
        out[t] = total = term + discount * total
    return out


def gae(
    rewards: NDArray[Any],
    values: NDArray[Any],
    final_value: float,
    discount: float,
    gae_lambda: float,
) -> NDArray[np.float64]:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438).

    Args:
        rewards: Reward of each step, shape (T,).
        values: Value of the observation before each step, shape (T,).
        final_value: Value of what follows the last step: 0 after a termination, the value of the
            final observation after a time-out.
        discount: Discount per step.
        gae_lambda: 0 for one-step advantages, 1 for discounted returns minus values.

    Returns:
        Advantages, shape (T,). Added to ``values`` they are the lambda-returns.
    """
    following = np.append(values[1:], final_value)
    surprises = rewards + discount * following - values
    return discounted_sums(surprises, discount * gae_lambda)
