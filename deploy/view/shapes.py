"""The few solid shapes of which the robot is drawn, as vertices and triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUND = 20  # corners of half a circle


@dataclass(frozen=True, slots=True)
class Mesh:
    """A closed surface.

    Attributes:
        vertices: Corners, shape (V, 3), m.
        faces: Triangles as indices of corners, shape (F, 3).
    """

    vertices: Array
    faces: NDArray[np.uint32]


def slab(length_m: float, width_m: float, thickness_m: float, corner_m: float) -> Mesh:
    """Return a plate with round corners, its middle at the origin.

    Args:
        length_m: Along z.
        width_m: Along x.
        thickness_m: Along y.
        corner_m: Radius of the corners; half of length and width for a disc.
    """
    quarter = np.linspace(0.0, 0.5 * np.pi, _ROUND // 2 + 1)
    x_m, z_m = 0.5 * width_m - corner_m, 0.5 * length_m - corner_m
    corners = ((x_m, z_m), (-x_m, z_m), (-x_m, -z_m), (x_m, -z_m))
    outline = np.concatenate(
        [
            np.array(middle)
            + corner_m * np.stack((np.cos(quarter + turn), np.sin(quarter + turn)), axis=1)
            for turn, middle in zip(np.arange(4) * 0.5 * np.pi, corners, strict=True)
        ]
    )
    return _extruded(outline, thickness_m)


def ball(radius_m: float) -> Mesh:
    """Return a ball about the origin."""
    up = np.linspace(-0.5 * np.pi, 0.5 * np.pi, _ROUND // 2 + 1)
    around = np.linspace(0.0, 2.0 * np.pi, _ROUND, endpoint=False)
    level, turn = (grid.ravel() for grid in np.meshgrid(up, around, indexing="ij"))
    directions = (np.cos(level) * np.cos(turn), np.cos(level) * np.sin(turn), np.sin(level))
    faces = []
    for ring in range(len(up) - 1):
        for i in range(_ROUND):
            a, b = ring * _ROUND + i, ring * _ROUND + (i + 1) % _ROUND
            faces += [(a, b, b + _ROUND), (a, b + _ROUND, a + _ROUND)]
    return Mesh(radius_m * np.stack(directions, axis=1), np.array(faces, np.uint32))


def _extruded(outline: Array, thickness_m: float) -> Mesh:
    """Return the solid over a convex outline (N, 2) in x and z, to both sides along y."""
    count = len(outline)
    vertices = np.empty((2 * count, 3))
    vertices[:, 0], vertices[:, 2] = np.tile(outline, (2, 1)).T
    vertices[:count, 1], vertices[count:, 1] = -0.5 * thickness_m, 0.5 * thickness_m
    faces = []
    for i in range(1, count - 1):
        faces += [(0, i, i + 1), (count, count + i + 1, count + i)]
    for i in range(count):
        j = (i + 1) % count
        faces += [(i, count + i, count + j), (i, count + j, j)]
    return Mesh(vertices, np.array(faces, np.uint32))
