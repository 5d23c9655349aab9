"""Pushes: horizontal forces of random size and direction on the body, at regular intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.plant.params import PlantParams


class Pushes:
    """The pushes of one episode, a function of its parameters alone.

    The first push starts one interval after the episode does. Force is uniform between the two
    bounds, direction uniform in the horizontal plane of the world.
    """

    def __init__(self, params: PlantParams) -> None:
        self._params = params
        self._rng = np.random.default_rng((params.seed, 1))
        self._index = 0
        self._force_n = np.zeros(3)

    def force_n(self, t_s: float) -> NDArray[np.float64] | None:
        """Return the force on the body at ``t_s``, shape (3,), world frame; None between pushes.

        Times must not decrease from call to call.
        """
        params = self._params
        if params.push_force_high_n <= 0.0 or t_s < params.push_interval_s:
            return None
        # A thousandth of a tick forgives rounding of t / interval at the very start of a push.
        index = int((t_s + 1e-6) / params.push_interval_s)
        if t_s - index * params.push_interval_s >= params.push_duration_s - 1e-6:
            return None
        while self._index < index:
            self._index += 1
            size = self._rng.uniform(params.push_force_low_n, params.push_force_high_n)
            angle = self._rng.uniform(0.0, 2.0 * math.pi)
            self._force_n = size * np.array((math.cos(angle), math.sin(angle), 0.0))
        return self._force_n
