"""The ground of an episode: a plane that may slope, and what lies on it, by its parameters.

Places are in the frame of the ground: its plane is z = 0, whatever its slope, since a slope is
gravity that leans. Everything lies along the heading at the start. Blocks, sills, waves and stairs
are boxes without end, of which an engine has the few that are near the robot: it lays them anew
when the robot has moved on. Slippery patches are laid in the same way, but they are no boxes: they
only scale the friction of what touches the ground there. Around the start the ground is plain.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import (
    quaternion_from_rpy,
    quaternion_product,
    rotation_from_quaternion,
)
from sim.errors import ParameterError
from sim.plant.params import GRAVITY_M_S2, PlantParams

Array = NDArray[np.float64]

# A block is as long as wide. Between plain floor and blocks lies a square of twice this half width.
BLOCK_M, _PLAIN_M = 0.15, 0.45
# From one sill to the next, and from its front to its back.
SILL_EVERY_M, SILL_LENGTH_M = 1.5, 0.1
# A wave is a level crest, a ramp down, a trough as long as the crest, and a ramp up: a sine in few
# planks, since toes catch where two meet. The trough is the floor. A ramp goes on under the floor:
# toes that sink in would catch on its end.
CREST_M, RAMP_M, _FOOT_M = 0.2, 0.4, 0.3
# Stairs go up by some steps and down again. From the bottom to the next one are eight treads.
TREAD_M, _TREADS, _STEPS = 0.5, 8, 3
# Half the width across of sills, planks and treads.
_ACROSS_M = 5.0
# No strip of them has its middle nearer to the start: half the way from one crest to the next.
_PLAIN_AHEAD_M = CREST_M + RAMP_M
# Blocks along each side of what is laid about the robot: 0.75 m in all directions.
_BLOCKS = 10
# How far the robot may be from the middle of what is laid. Its farthest toe is 0.5 m ahead.
REACH_M = 0.15
_DEPTH_M = 0.15  # half the height of a box
_AWAY_M = -10.0  # where a box is that is not needed
_FAR_M = 1e6
# A patch is a square in a cell, which is as wide as the plain floor about the start.
PATCH_HALF_M, _CELL_M = 0.3, 2.0 * _PLAIN_M
_CELLS = 3  # along each side of what is laid about the robot
MOST_PATCHES = _CELLS**2
# Of the ground among the streams of an episode's randomness.
_BLOCK_STREAM, _PATCH_STREAMS = 2, (5, 6)

# What a part of a terrain's name sets: a parameter, by its number times the factor. Last is the
# greatest number.
_MM, _DEG = 0.001, math.radians(1.0)
_KINDS = {
    "blocks": ("block_height_m", _MM, 200),
    "sill": ("sill_height_m", _MM, 200),
    "waves": ("wave_height_m", _MM, 200),
    "stairs": ("stair_rise_m", _MM, 200),
    "patches": ("patch_friction_scale", 0.01, 100),
    "slope-up": ("slope_rad", _DEG, 40),
    "slope-down": ("slope_rad", -_DEG, 40),
    "slope-across": ("cross_slope_rad", _DEG, 40),
}
_NAME = re.compile(r"([a-z]+)([0-9]{1,3})(-[a-z]+)?")
FLAT, _ICE = "flat", "ice"
# Rubber on wet ice or a polished wet floor; Table I goes down to 0.5.
_ICE_FRICTION = 0.25


def terrain_named(name: str) -> dict[str, Any]:
    """Return the parameters of a named terrain.

    Args:
        name: ``flat``, ``blocks20`` (heights of 0 to 20 mm), ``sill30`` (30 mm high), ``waves40``
            (40 mm from trough to crest), ``stairs20`` (steps of 20 mm), ``patches25`` (patches with
            25 % of the friction), ``slope10-up``, ``slope10-down`` or ``slope10-across`` (10
            degrees), ``ice`` (a friction of 0.25), or some of these with ``+`` between them.

    Raises:
        ParameterError: It is none of these, too high, too steep, or says something twice.
    """
    found: dict[str, Any] = {}
    for part in name.split("+"):
        if part == FLAT:
            continue
        parameter, value = _part(part)
        if parameter in found:
            raise ParameterError(f"terrain {name!r} says the same thing twice: leave out {part!r}")
        found[parameter] = value
    return found


def _part(part: str) -> tuple[str, float]:
    """Return the parameter that a part of a terrain's name sets, and its value."""
    if part == _ICE:
        return "contact_friction", _ICE_FRICTION
    match = _NAME.fullmatch(part)
    kind = match[1] + (match[3] or "") if match else ""
    if match is None or kind not in _KINDS:
        raise ParameterError(
            f"unknown terrain {part!r}: it is flat, blocks20, sill30, waves40 or stairs20 (mm), "
            "patches25 (%), slope10-up, slope10-down or slope10-across (degrees), ice, or several "
            "with + between them"
        )
    (parameter, factor, greatest), number = _KINDS[kind], int(match[2])
    if number > greatest:
        raise ParameterError(
            f"terrain {part!r} is impossible: blocks, sills, waves and stairs have at most 200 mm, "
            "slopes at most 40 degrees, patches at most 100 %"
        )
    return parameter, number * factor


def on_terrain(params: PlantParams, name: str) -> PlantParams:
    """Return a plant on a named terrain.

    Raises:
        ParameterError: As of :func:`terrain_named`.
    """
    return dataclasses.replace(params, **terrain_named(name))


def ground_turn(params: PlantParams) -> Array | None:
    """Return what turns the ground's axes to level ones, a quaternion (x, y, z, w); None if level.

    About the vertical it does not turn the heading at the start.
    """
    if params.slope_rad == 0.0 == params.cross_slope_rad:
        return None
    heading, back = (
        quaternion_from_rpy(np.array((0.0, 0.0, yaw)))
        for yaw in (params.start_heading_rad, -params.start_heading_rad)
    )
    # A nose that rises is a turn about y to the other side.
    up = quaternion_from_rpy(np.array((0.0, -params.slope_rad, 0.0)))
    left = quaternion_from_rpy(np.array((params.cross_slope_rad, 0.0, 0.0)))
    return quaternion_product(quaternion_product(heading, quaternion_product(up, left)), back)


def gravity_m_s2(params: PlantParams) -> Array:
    """Return the acceleration of gravity along the ground's axes, shape (3,)."""
    down = np.array((0.0, 0.0, -GRAVITY_M_S2))
    turn = ground_turn(params)
    return down if turn is None else rotation_from_quaternion(turn).T @ down


def block_heights(seed: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
    """Return the height of blocks as a share of the greatest, in [0, 1), by number along x and y.

    Shapes are those of the numbers.
    """
    return _shares(seed, _BLOCK_STREAM, i, j)


def _shares(seed: int, stream: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
    """Return random numbers in [0, 1), by number along x and y.

    A hash instead of a generator: a place has its number whenever it is asked for. The mixing is
    that of SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195).
    """
    key = np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)
    bits = key + i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mixed(bits) + j.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    shares: Array = (_mixed(bits) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return shares


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class _Strips(NamedTuple):
    """Boxes across the way, one behind the other, by number from the start on.

    Attributes:
        parameter: Name of the height; 0 for none.
        every_m: From the middle of one strip to that of the next.
        depth_m: Half the height of a box.
        laid: How many are laid about the robot. Strips whose numbers differ by this are alike.
        shape: Where tops begin and end, by numbers of shape (N,): how far ahead of the middle, in
            metres, and how high, in units of the parameter; shape (2, 2, N). A top that is nowhere
            above the floor is none.
    """

    parameter: str
    every_m: float
    depth_m: float
    laid: int
    shape: Callable[[NDArray[np.int64]], Array]

    def edges_m(self, params: PlantParams, numbers: NDArray[np.int64]) -> Array:
        """Return where tops begin and end, ahead of the middle and up, shape (2, 2, N)."""
        height_m: float = getattr(params, self.parameter)
        edges_m: Array = self.shape(numbers) * ((1.0,), (height_m,))
        return edges_m


def _level(length_m: float, heights: Array) -> Array:
    """Return the edges of level tops, shape (2, 2, N), of heights in units of the parameter."""
    half_m = np.full(len(heights), 0.5 * length_m)
    return np.array(((-half_m, heights), (half_m, heights)))


def _sills(numbers: NDArray[np.int64]) -> Array:
    return _level(SILL_LENGTH_M, np.ones(len(numbers)))


def _waves(numbers: NDArray[np.int64]) -> Array:
    level, ramp, foot = 0.5 * CREST_M, 0.5 * RAMP_M, 0.5 * RAMP_M + _FOOT_M
    below = -_FOOT_M / RAMP_M
    parts = np.array(
        (
            ((-level, 1.0), (level, 1.0)),
            ((-ramp, 1.0), (foot, below)),
            ((-level, 0.0), (level, 0.0)),
            ((-foot, below), (ramp, 1.0)),
        )
    )
    return np.moveaxis(parts[numbers % len(parts)], 0, -1)


def _stairs(numbers: NDArray[np.int64]) -> Array:
    from_top = np.abs(numbers % _TREADS - _TREADS // 2)
    return _level(TREAD_M, np.maximum(0, _STEPS - from_top).astype(np.float64))


_STRIPS = (
    _Strips("sill_height_m", SILL_EVERY_M, _DEPTH_M, 3, _sills),
    _Strips("wave_height_m", 0.5 * (CREST_M + RAMP_M), _DEPTH_M, 8, _waves),
    # The highest tread is a box that reaches down to the floor.
    _Strips("stair_rise_m", TREAD_M, 0.35, _TREADS, _stairs),
)


class Boxes:
    """The boxes that lie on the ground near a place.

    Attributes:
        half_m: Half the size of each box, along its axes, shape (N, 3).
        quaternions: How each is turned, (x, y, z, w), shape (N, 4).
    """

    def __init__(self, params: PlantParams) -> None:
        self._params = params
        self._axes = _axes(params)
        self._strips = [each for each in _STRIPS if getattr(params, each.parameter) > 0.0]
        blocks = _BLOCKS**2 if params.block_height_m > 0.0 else 0
        half_m = [(0.5 * BLOCK_M, 0.5 * BLOCK_M, _DEPTH_M)] * blocks
        pitch_rad = [0.0] * blocks
        for strips in self._strips:
            edges_m = strips.edges_m(params, np.arange(strips.laid))
            lengths_m = np.linalg.norm(edges_m[1] - edges_m[0], axis=0).tolist()
            half_m += [(0.5 * length_m, _ACROSS_M, strips.depth_m) for length_m in lengths_m]
            pitch_rad += _pitch_rad(edges_m).tolist()
        self.half_m: Array = np.array(half_m, dtype=np.float64).reshape(-1, 3)
        self.quaternions: Array = np.array(
            [
                quaternion_from_rpy(np.array((0.0, pitch, params.start_heading_rad)))
                for pitch in pitch_rad
            ]
        ).reshape(-1, 4)

    def centres_m(self, x_m: float, y_m: float) -> Array:
        """Return the centres of the boxes about a place, shape (N, 3).

        A box keeps its place in the order as long as it is near: few change from call to call.
        """
        ahead_m, left_m = _near(self._axes, x_m, y_m)
        laid = [self._strips_at(strips, ahead_m, left_m) for strips in self._strips]
        if self._params.block_height_m > 0.0:
            laid.insert(0, self._blocks(ahead_m, left_m))
        if not laid:
            return np.zeros((0, 3))
        centres = np.concatenate(laid, dtype=np.float64)
        centres[:, :2] = centres[:, :2] @ self._axes
        return centres

    def _blocks(self, ahead_m: float, left_m: float) -> Array:
        i, j = _cells_around(ahead_m, left_m, BLOCK_M, _BLOCKS)
        x_m, y_m = (i + 0.5) * BLOCK_M, (j + 0.5) * BLOCK_M
        top_m = self._params.block_height_m * block_heights(self._params.seed, i, j)
        plain = np.maximum(np.abs(x_m), np.abs(y_m)) < _PLAIN_M
        z_m = np.where(plain, _AWAY_M, top_m - _DEPTH_M)
        return np.stack((x_m, y_m, z_m), axis=1)

    def _strips_at(self, strips: _Strips, ahead_m: float, left_m: float) -> Array:
        numbers = _around(ahead_m, strips.every_m, strips.laid)
        edges_m = strips.edges_m(self._params, numbers)
        pitch_rad = _pitch_rad(edges_m)
        down_m = strips.depth_m * np.stack((np.sin(pitch_rad), np.cos(pitch_rad)))
        # The middle of a box is below the middle of its top, square to it.
        x_m, z_m = edges_m.mean(axis=0) - down_m
        at_m = numbers * strips.every_m
        plain = (np.abs(at_m) < _PLAIN_AHEAD_M) | (edges_m[:, 1] <= 0.0).all(axis=0)
        # They move along with the robot: across they have no end.
        y_m = np.full(strips.laid, _ACROSS_M * round(left_m / _ACROSS_M))
        return np.stack((at_m + x_m, y_m, np.where(plain, _AWAY_M, z_m)), axis=1)


class Patches:
    """The slippery patches of the ground near a place: squares in which friction is scaled.

    Attributes:
        exist: Whether there are any.
        scale: Factor on the friction in a patch.
        heading: Cosine and sine of the direction along which they lie, shape (2,).
        quaternion: The turn to it, (x, y, z, w), shape (4,).
        middles_m: Of those that were laid last, ahead and to the left, shape (N, 2); at most
            ``MOST_PATCHES``.
    """

    def __init__(self, params: PlantParams) -> None:
        self._seed = params.seed
        self._axes = _axes(params)
        self.scale = params.patch_friction_scale
        self.exist = self.scale != 1.0
        self.heading: list[float] = self._axes[0].tolist()
        self.quaternion = quaternion_from_rpy(np.array((0.0, 0.0, params.start_heading_rad)))
        self.middles_m: list[list[float]] = []

    def lay(self, x_m: float, y_m: float) -> None:
        """Lay the patches about a place."""
        if not self.exist:
            return
        i, j = _cells_around(*_near(self._axes, x_m, y_m), _CELL_M, _CELLS)
        cells = np.stack((i, j), axis=1)
        play = np.stack([_shares(self._seed, each, i, j) for each in _PATCH_STREAMS], axis=1) - 0.5
        middles_m = cells * _CELL_M + play * (_CELL_M - 2.0 * PATCH_HALF_M)
        # The cell of the start is plain.
        self.middles_m = middles_m[cells.any(axis=1)].tolist()

    def places_m(self) -> Array:
        """Return where to show the patches that were laid last, shape (MOST_PATCHES, 3).

        Places that are left over are far below the floor.
        """
        places = np.full((MOST_PATCHES, 3), _AWAY_M)
        middles_m = np.reshape(self.middles_m, (-1, 2))
        places[: len(middles_m), :2] = middles_m @ self._axes
        places[: len(middles_m), 2] = 0.0
        return places

    def scale_at(self, x_m: float, y_m: float) -> float:
        """Return the factor on the friction at a place."""
        # In the order of ``tick.c``: both must give the same bits.
        cosine, sine = self.heading
        ahead_m, left_m = cosine * x_m + sine * y_m, cosine * y_m - sine * x_m
        for middle_ahead_m, middle_left_m in self.middles_m:
            off_ahead_m, off_left_m = ahead_m - middle_ahead_m, left_m - middle_left_m
            if abs(off_ahead_m) <= PATCH_HALF_M and abs(off_left_m) <= PATCH_HALF_M:
                return self.scale
        return 1.0


def _axes(params: PlantParams) -> Array:
    """Return the directions ahead and to the left, as rows, shape (2, 2)."""
    yaw = params.start_heading_rad
    return np.array(((math.cos(yaw), math.sin(yaw)), (-math.sin(yaw), math.cos(yaw))))


def _near(axes: Array, x_m: float, y_m: float) -> tuple[float, float]:
    """Return how far ahead and to the left a place is."""
    # A simulation that diverges is somewhere else: there the ground does not follow.
    near = (x_m, y_m) if abs(x_m) < _FAR_M and abs(y_m) < _FAR_M else (0.0, 0.0)
    ahead_m, left_m = (axes @ near).tolist()
    return ahead_m, left_m


def _pitch_rad(edges_m: Array) -> Array:
    """Return by how much tops, by their edges, are turned down ahead, shape (N,)."""
    ahead_m, up_m = edges_m[1] - edges_m[0]
    pitch: Array = np.arctan2(0.0 - up_m, ahead_m)  # no -0.0
    return pitch


def _around(at_m: float, every_m: float, count: int) -> NDArray[np.int64]:
    """Return the numbers of what is near a place along an axis, in the order of their rest."""
    first = round(at_m / every_m) - count // 2
    numbers = np.arange(first, first + count)
    return numbers[np.argsort(numbers % count)]


def _cells_around(
    ahead_m: float, left_m: float, every_m: float, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of cells about a place along both axes, shapes (count^2,)."""
    i, j = np.meshgrid(
        _around(ahead_m, every_m, count), _around(left_m, every_m, count), indexing="ij"
    )
    return i.ravel(), j.ravel()
