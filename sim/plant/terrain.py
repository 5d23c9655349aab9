"""The ground of an episode: a plane that may slope, and blocks and sills on it, by its parameters.

Places are in the frame of the ground: its plane is z = 0, whatever its slope, since a slope is
gravity that leans. Blocks, sills and slopes lie along the heading at the start. Blocks and sills
are boxes without end, of which an engine has the few that are near the robot: it lays them anew
when the robot has moved on. Around the start the ground is plain.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

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
# From one sill to the next, from its front to its back, and half its width across.
SILL_EVERY_M, SILL_LENGTH_M, _SILL_HALF_M = 1.5, 0.1, 5.0
# Blocks along each side of what is laid about the robot: 0.75 m in all directions.
_BLOCKS = 10
_SILLS = 3
# How far the robot may be from the middle of what is laid. Its farthest toe is 0.5 m ahead.
REACH_M = 0.15
_DEPTH_M = 0.15  # half the height of a box
_AWAY_M = -10.0  # where a box is that is not needed
_FAR_M = 1e6

# What a part of a terrain's name sets: a parameter, by its number times the factor.
_KINDS = {
    "blocks": ("block_height_m", 0.001),
    "sill": ("sill_height_m", 0.001),
    "up": ("slope_rad", math.radians(1.0)),
    "down": ("slope_rad", -math.radians(1.0)),
    "across": ("cross_slope_rad", math.radians(1.0)),
}
_NAME = re.compile(r"(blocks|sill)([0-9]{1,3})|slope([0-9]{1,2})-(up|down|across)")
_HIGHEST_MM, _STEEPEST_DEG = 200, 40
FLAT, _ICE = "flat", "ice"
# Rubber on wet ice or a polished wet floor; Table I goes down to 0.5.
_ICE_FRICTION = 0.25


def terrain_named(name: str) -> dict[str, Any]:
    """Return the parameters of a named terrain.

    Args:
        name: ``flat``, ``blocks20`` (heights of 0 to 20 mm), ``sill30`` (30 mm high),
            ``slope10-up``, ``slope10-down`` or ``slope10-across`` (10 degrees), ``ice`` (a friction
            of 0.25), or some of these with ``+`` between them.

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
    if match is None:
        raise ParameterError(
            f"unknown terrain {part!r}: it is flat, blocks20 or sill30 (mm), slope10-up, "
            "slope10-down or slope10-across (degrees), ice, or several with + between them"
        )
    kind, size_mm, slope_deg, direction = match.groups()
    if int(size_mm or 0) > _HIGHEST_MM or int(slope_deg or 0) > _STEEPEST_DEG:
        raise ParameterError(
            f"terrain {part!r} is impossible: blocks and sills have at most {_HIGHEST_MM} mm, "
            f"slopes at most {_STEEPEST_DEG} degrees"
        )
    parameter, factor = _KINDS[kind or direction]
    return parameter, int(size_mm or slope_deg) * factor


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

    A hash instead of a generator: a block has its height whenever it is asked for. The mixing is
    that of SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195).
    """
    key = np.random.SeedSequence((seed, 2)).generate_state(1, np.uint64)
    bits = key + i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mixed(bits) + j.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    shares: Array = (_mixed(bits) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return shares


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class Boxes:
    """The boxes that lie on the ground near a place.

    Attributes:
        half_m: Half the size of each box, along its axes, shape (N, 3).
        quaternion: How they are turned, (x, y, z, w), shape (4,).
    """

    def __init__(self, params: PlantParams) -> None:
        self._params = params
        yaw = params.start_heading_rad
        self._axes = np.array(((math.cos(yaw), math.sin(yaw)), (-math.sin(yaw), math.cos(yaw))))
        self.quaternion = quaternion_from_rpy(np.array((0.0, 0.0, yaw)))
        blocks = _BLOCKS**2 if params.block_height_m > 0.0 else 0
        sills = _SILLS if params.sill_height_m > 0.0 else 0
        self.half_m: Array = np.array(
            [(0.5 * BLOCK_M, 0.5 * BLOCK_M, _DEPTH_M)] * blocks
            + [(0.5 * SILL_LENGTH_M, _SILL_HALF_M, _DEPTH_M)] * sills,
            dtype=np.float64,
        ).reshape(-1, 3)

    def centres_m(self, x_m: float, y_m: float) -> Array:
        """Return the centres of the boxes about a place, shape (N, 3).

        A box keeps its place in the order as long as it is near: few change from call to call.
        """
        # A simulation that diverges is somewhere else: there the boxes do not follow.
        near = (x_m, y_m) if abs(x_m) < _FAR_M and abs(y_m) < _FAR_M else (0.0, 0.0)
        ahead_m, left_m = (self._axes @ near).tolist()
        params = self._params
        laid: list[Array] = []
        if params.block_height_m > 0.0:
            laid.append(self._blocks(ahead_m, left_m))
        if params.sill_height_m > 0.0:
            laid.append(self._sills(ahead_m, left_m))
        if not laid:
            return np.zeros((0, 3))
        centres = np.concatenate(laid, dtype=np.float64)
        centres[:, :2] = centres[:, :2] @ self._axes
        return centres

    def _blocks(self, ahead_m: float, left_m: float) -> Array:
        i, j = (
            near.ravel() for near in np.meshgrid(_around(ahead_m), _around(left_m), indexing="ij")
        )
        x_m, y_m = (i + 0.5) * BLOCK_M, (j + 0.5) * BLOCK_M
        top_m = self._params.block_height_m * block_heights(self._params.seed, i, j)
        plain = np.maximum(np.abs(x_m), np.abs(y_m)) < _PLAIN_M
        z_m = np.where(plain, _AWAY_M, top_m - _DEPTH_M)
        return np.stack((x_m, y_m, z_m), axis=1)

    def _sills(self, ahead_m: float, left_m: float) -> Array:
        nearest = round(ahead_m / SILL_EVERY_M)
        numbers = np.arange(nearest - 1, nearest + _SILLS - 1)
        numbers = numbers[np.argsort(numbers % _SILLS)]
        z_m = np.where(numbers == 0, _AWAY_M, self._params.sill_height_m - _DEPTH_M)
        # They move along with the robot: across they have no end.
        y_m = np.full(_SILLS, _SILL_HALF_M * round(left_m / _SILL_HALF_M))
        return np.stack((numbers * SILL_EVERY_M, y_m, z_m), axis=1)


def _around(at_m: float) -> NDArray[np.int64]:
    """Return the numbers of the blocks near a place along an axis, in the order of their rest."""
    first = round(at_m / BLOCK_M) - _BLOCKS // 2
    numbers = np.arange(first, first + _BLOCKS)
    return numbers[np.argsort(numbers % _BLOCKS)]
