"""The two Minitaurs that PyBullet's data describe, and what their URDF files leave unsaid.

A URDF is a tree, so the closed five-bar legs, the motor order and the start pose stand here. The
descriptions are in ``data``, derived from PyBullet's by ``sim.model.derive``: no engine needs to be
installed to read them. Must not import a physics engine.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from robot_firmware_bridge.robot import MINITAUR
from sim.model.link_tree import LinkTree, ModelError
from sim.model.tree_file import read_tree
from sim.model.urdf import merge_fixed

Point = tuple[float, float, float]

_DATA = Path(__file__).with_name("data")
# Motor angle at the start, times the motor's direction (source: pybullet_envs' Minitaur).
START_MOTOR_RAD = math.pi / 2


# A link and a point on it, in m in the frame of that link (not of its centre of mass).
Anchor = tuple[str, Point]


@dataclass(frozen=True, slots=True)
class MinitaurModel:
    """One variant of the robot: its file, and names in the robot's motor or leg order.

    Attributes:
        name: The key in ``MODELS``.
        file: The URDF that it is derived from, relative to the folder of ``pybullet_data``.
        motor_joints: The eight motor joints, motor order.
        knee_joints: The eight knee joints, motor order.
        closures: Per leg, leg order, the two anchors, on its right and left lower link, that a
            hinge pin holds together. The hinge turns about the link's y axis; a point-to-point
            constraint is enough, the chains are planar.
        start_knees_rad: Knee joint angles that close the legs at the start.
        body_collisions: Original links whose shapes touch when the body lies on the floor: the
            chassis and the motors. The motors' round housings reach below the chassis (by 17 mm on
            rainbow_dash), so without them the body would sink in before it touches. The motors are
            not part of the body link after merging: they are separate, turning links.
        lower_legs: Links whose shapes walk on the floor, motor order.
    """

    name: str
    file: str
    motor_joints: tuple[str, ...]
    knee_joints: tuple[str, ...]
    closures: tuple[tuple[Anchor, Anchor], ...]
    start_knees_rad: tuple[float, ...]
    body_collisions: tuple[str, ...]
    lower_legs: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The derived description."""
        return _DATA / f"{self.name}.json"

    @property
    def start_positions(self) -> dict[str, float]:
        """Joint name to joint angle at the start, motors and knees."""
        motors = (direction * START_MOTOR_RAD for direction in MINITAUR.motor_directions)
        names = self.motor_joints + self.knee_joints
        return dict(zip(names, (*motors, *self.start_knees_rad), strict=True))

    def touches_floor(self, link: str) -> bool:
        """Whether the shapes of an original link are needed for contact with the floor."""
        return link in self.lower_legs or link in self.body_collisions


def _start_knee(upper_m: float, own_m: float, other_m: float) -> float:
    """Return the knee angle of a chain when the upper links point away from each other.

    The knees then lie ``2 * upper_m`` apart and make a triangle with the pin, which lies ``own_m``
    from this chain's knee and ``other_m`` from the other's.
    """
    base_m = 2 * upper_m
    cosine = (own_m**2 + base_m**2 - other_m**2) / (2 * own_m * base_m)
    return math.acos(cosine) - math.pi


def _model(
    name: str, knee_suffix: str, upper_m: float, pins: tuple[tuple[Point, Point], ...]
) -> MinitaurModel:
    """Return a model from the naming pattern that both files share and (R, L) pins per leg."""
    motors, legs, directions = MINITAUR.motor_names, MINITAUR.leg_names, MINITAUR.motor_directions
    knees = [
        _start_knee(upper_m, own[2], other[2])
        for right, left in pins
        for own, other in ((left, right), (right, left))
    ]
    chassis = ("base_chassis_link", "chassis_left", "chassis_right")
    return MinitaurModel(
        name=name,
        file=f"quadruped/{name}.urdf",
        motor_joints=tuple(f"motor_{motor}_joint" for motor in motors),
        knee_joints=tuple(f"knee_{motor}{knee_suffix}" for motor in motors),
        closures=tuple(
            ((f"lower_leg_{leg}R_link", right), (f"lower_leg_{leg}L_link", left))
            for leg, (right, left) in zip(legs, pins, strict=True)
        ),
        start_knees_rad=tuple(d * knee for d, knee in zip(directions, knees, strict=True)),
        body_collisions=chassis + tuple(f"motor_{motor}_link" for motor in motors),
        lower_legs=tuple(f"lower_leg_{motor}_link" for motor in motors),
    )


# Rainbow dash has a short and a long lower leg on every leg: the short one is R on left legs and L
# on right legs. Its pins are published relative to the centres of mass, (0, .0045, .100) on the
# short and (0, .0045, .088) on the long one, which lie 0.100 and 0.120 m below the knee. The start
# pose of pybullet_envs, knees at -2.1834, is that of minitaur.urdf: here it would leave the pins
# 33 mm apart, for the solver to snap together. The knees are therefore solved for each model.
_SHORT: Point = (0.0, 0.0045, 0.100 + 0.100)
_LONG: Point = (0.0, 0.0045, 0.088 + 0.120)
_PLAIN: tuple[Point, Point] = ((0.0, 0.005, 0.2), (0.0, 0.01, 0.2))

MODELS: dict[str, MinitaurModel] = {
    model.name: model
    for model in (
        _model(
            "minitaur_rainbow_dash",
            "_joint",
            0.045 + 0.056,
            ((_SHORT, _LONG), (_SHORT, _LONG), (_LONG, _SHORT), (_LONG, _SHORT)),
        ),
        _model("minitaur", "_link", 0.06 + 0.055, (_PLAIN,) * 4),
    )
}


DEFAULT_MODEL = "minitaur_rainbow_dash"


def model_named(name: str) -> MinitaurModel:
    """Return a model of ``MODELS``; an unknown name raises ModelError that lists the known."""
    try:
        return MODELS[name]
    except KeyError:
        raise ModelError(f"unknown model {name!r}; known: {', '.join(MODELS)}") from None


@cache
def load_tree(model_name: str, *, merged: bool) -> LinkTree:
    """Return the model's tree as in the file, or with its fixed joints folded away. Cached."""
    if merged:
        return merge_fixed(load_tree(model_name, merged=False))
    return read_tree(model_named(model_name).path)
