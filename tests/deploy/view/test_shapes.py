"""The shapes are closed, face outward and have the size that was asked for."""

from collections import Counter

import numpy as np
import pytest

from deploy.view.shapes import ball, slab


def volume_m3(mesh):
    """Volume of a closed surface; positive if its triangles run counterclockwise from outside."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return np.einsum("ni,ni->", a, np.cross(b, c)) / 6.0


def assert_closed(mesh):
    """Every edge belongs to two triangles, which run along it both ways."""
    edges = Counter()
    points = [tuple(point) for point in mesh.vertices.round(9).tolist()]
    for face in mesh.faces.tolist():
        corners = [points[index] for index in face]
        if len(set(corners)) == 3:
            edges.update(zip(corners, corners[1:] + corners[:1], strict=True))
    assert all(edges[(b, a)] == count for (a, b), count in edges.items())


@pytest.mark.parametrize("corner_m", [0.001, 0.05])
def test_a_slab(corner_m):
    mesh = slab(0.3, 0.1, 0.02, corner_m)
    assert_closed(mesh)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), (0.1, 0.02, 0.3))
    area_m2 = 0.3 * 0.1 - (4.0 - np.pi) * corner_m**2
    assert volume_m3(mesh) == pytest.approx(area_m2 * 0.02, rel=0.01)


def test_a_ball():
    mesh = ball(0.1)
    assert_closed(mesh)
    assert volume_m3(mesh) == pytest.approx(4.0 / 3.0 * np.pi * 0.1**3, rel=0.06)
