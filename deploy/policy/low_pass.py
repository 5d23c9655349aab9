"""The first-order low pass of a policy's outputs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def follow(
    filtered: NDArray[np.float64], values: NDArray[np.float64], cutoff_hz: float, dt_s: float
) -> None:
    """Move filtered values, in place, as far towards the present ones as ``dt_s`` allows."""
    keep = math.exp(-2.0 * math.pi * cutoff_hz * dt_s)
    filtered[:] = keep * filtered + (1.0 - keep) * values
