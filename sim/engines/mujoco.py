"""The robot in MuJoCo: a second opinion on the physics, under the same drives and sensors.

A sibling of ``sim.engines.bullet``. Nothing here is tuned to a gait or a policy: a policy should
not depend on what the two engines disagree in. MuJoCo is imported when an engine is made; PyBullet
must not be.

The model is built from the description that Bullet loads too. Masses, centres, inertias, axes and
shapes come from the merged ``LinkTree``, the rest from ``PlantParams``. What is left to define is
how hard a contact, a pin and dry friction are. All MuJoCo's constraints obey
``force = -(K x + B v + a) / R``, of an error x, its rate v and its acceleration a, within the
bounds of friction. R is ``(1 - d) / d`` times an inverse weight, for an impedance d, and a
``solref`` of ``(-K d, -B d)`` sets the rest.
"""

from __future__ import annotations

import importlib
import logging
import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import normalized, rotation_from_quaternion, turned
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from sim.engines.c_locale import decimal_points
from sim.engines.five_bar import Legs, closed_knees
from sim.engines.lowest_point import LowestPoint
from sim.engines.mujoco_tick import mujoco_tick
from sim.errors import SimError
from sim.model.link_tree import (
    Collision,
    Joint,
    Link,
    LinkTree,
    ModelError,
    Pose,
    check_mass,
)
from sim.model.minitaur import DEFAULT_MODEL, MinitaurModel, load_tree, model_named
from sim.model.urdf import joined
from sim.plant.compiled import EngineTick
from sim.plant.params import TICK_S, PlantParams, toe_contact
from sim.plant.plant import Load
from sim.plant.terrain import REACH_M, Boxes, Patches, gravity_m_s2

Array = NDArray[np.float64]

FLOOR = "floor"

_logger = logging.getLogger(__name__)

# Bounds of MuJoCo's impedance.
_SOFT, _HARD = 0.0001, 0.9999
# Share of a position error that Bullet takes back per tick: at a contact without a stiffness of
# its own, and at a pin.
_CONTACT_ERP, _PIN_ERP = 0.08, 0.2
# This pin yields 2 um/N. The hardest would change the trot's speed by 0.2 %.
_PIN_IMPEDANCE = 0.95
# 1 / R of a toe's corner: the inertia of its spring, against 0.3 kg of the toe. MuJoCo's contacts
# push apart when they slide, by friction times this inertia times the slip speed per tick. At
# 0.05 kg, where the spring would be implicit just as Bullet's is, this jams toes that drag. Below
# the value here nothing changes any more.
_CORNER_KG = 0.001
# R of a corner's friction, 1/kg: as good as rigid, as in Bullet. With the R of the normal, as by
# default, a standing toe would creep.
_FRICTION_PER_KG = 0.02
# No joint turns faster after a tick, as in Bullet (``m_maxCoordinateVelocity``). Beyond some
# 200 rad/s, which a leg that whips round can reach, a tick of 1 ms diverges.
_MAX_JOINT_RAD_S = 100.0
# Farther from the floor than any shape of a robot whose body's origin is at the floor's height.
_FARTHEST_M = 1.0
# Quaternion (x, y, z, w) out of MuJoCo's (w, x, y, z).
_XYZW = [4, 5, 6, 3]
# Speeds of the body, before those of the joints.
_BODY_SPEEDS = 6


class MujocoEngine:
    """One robot on a ground without end in a MuJoCo world of its own.

    Only its lower legs touch the boxes of a terrain, and slip on its patches.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.

    Raises:
        SimError: MuJoCo is not installed, or the model is unknown.
    """

    def __init__(self, model: str = DEFAULT_MODEL, robot: RobotDescription = MINITAUR) -> None:
        self._mujoco = import_mujoco()
        self._model = model_named(model)
        self._tree = load_tree(model, merged=True)
        self._directions = robot.directions
        motors = robot.stance_pose_rad * self._directions
        knees = closed_knees(self._tree, self._model, motors)
        self._stance = np.concatenate((motors, knees))
        self._legs = Legs(self._tree, self._model)
        self._lowest = LowestPoint(self._tree, self._model)
        self.mass_kg = 0.0
        self.load: Load | None = None
        self._tick = mujoco_tick(self._mujoco, _MAX_JOINT_RAD_S)

    def reset(self, params: PlantParams) -> None:
        """Compile the robot with these parameters and put it in its stance on the floor."""
        self._terrain = Boxes(params)
        compiled = build(self._model, self._tree, params)
        self.mass_kg = float(compiled.body_mass.sum())
        self._compiled, self._data = compiled, self._mujoco.MjData(compiled)
        names = (*self._model.motor_joints, *self._model.knee_joints)
        self._angles = np.array([compiled.joint(name).qposadr[0] for name in names])
        self._motor_angles = self._angles[:8]
        self._speeds = np.array([compiled.joint(name).dofadr[0] for name in names])
        self._motor_speeds = self._speeds[:8]
        self._body = compiled.body(self._tree.root).id
        # Views of MuJoCo's own memory.
        self._qpos, self._qvel = self._data.qpos, self._data.qvel
        self._torque = self._data.qfrc_applied
        self._push = self._data.xfrc_applied[self._body, :3]
        self._qpos[self._angles] = self._stance
        self._qpos[2] += params.stand_height_m - self._lowest_m()
        count = len(self._terrain.half_m)
        first = compiled.geom(_box(0)).id if count else 0
        self._boxes = compiled.geom_pos[first : first + count]
        self._patches = Patches(params)
        self._pairs = _toe_pairs(self._model, compiled)
        self._friction = params.contact_friction
        half = 0.5 * params.start_heading_rad
        self._qpos[3], self._qpos[6] = math.cos(half), math.sin(half)
        if params.stand_height_m > 0.0:
            compiled.eq_data[-1, 3:10] = self._qpos[:7]
        if self._tick is not None:
            self._tick.begin(
                compiled,
                self._data,
                self._body,
                self._motor_angles.tolist(),
                self._motor_speeds.tolist(),
                self._directions.tolist(),
            )
            self._tick.toes_are(compiled, self._data, self._pairs, self._friction)
        self._move_terrain(0.0, 0.0)

    def compiled(self) -> EngineTick | None:
        """Return ``step`` and ``measure`` in C; None where they cannot be had."""
        return self._tick

    def prepare(self) -> None:
        """Lay the terrain about the robot."""
        x_m, y_m = self._qpos[:2].tolist()
        moved_m = max(abs(x_m - self._ground_m[0]), abs(y_m - self._ground_m[1]))
        if moved_m >= self._reach_m:  # no comparison with a NaN
            self._move_terrain(x_m, y_m)

    def _move_terrain(self, x_m: float, y_m: float) -> None:
        self._boxes[:] = self._terrain.centres_m(x_m, y_m)
        self._patches.lay(x_m, y_m)
        self._ground_m = x_m, y_m
        self._reach_m = REACH_M if len(self._boxes) or self._patches.exist else math.inf
        if self._tick is not None:
            self._tick.terrain_is_at(x_m, y_m, self._reach_m, self._patches)

    def _set_friction(self) -> None:
        """Give each toe the friction of its place at the tick before."""
        for pair, geom, body in self._pairs.tolist():
            # A lower leg reaches from the knee, the origin of its body, to the toe.
            x_m, y_m = (2.0 * self._data.geom_xpos[geom, :2] - self._data.xpos[body, :2]).tolist()
            friction = self._friction * self._patches.scale_at(x_m, y_m)
            self._compiled.pair_friction[pair, :2] = friction

    def _lowest_m(self) -> float:
        """Return the height of the lowest shape's lowest point over the floor."""
        compiled, data = self._compiled, self._data
        self._mujoco.mj_kinematics(compiled, data)
        floor = compiled.geom(FLOOR).id
        distances = (
            self._mujoco.mj_geomDistance(compiled, data, floor, shape, _FARTHEST_M, None)
            for shape in range(compiled.ngeom)
            if compiled.geom_bodyid[shape] != 0  # the world's: the ground
        )
        return float(min(distances))

    def place(self, position_rad: Array, velocity_rad_s: Array, origin: Array) -> None:
        """Put the robot into a state of motion, as if nothing had been before; legs closed.

        Raises:
            SimError: No knees close the legs at these angles.
        """
        motors, speeds = position_rad * self._directions, velocity_rad_s * self._directions
        knees, knee_speeds = self._legs.close(motors, speeds)
        # The solver would start from the last state's forces.
        self._mujoco.mj_resetData(self._compiled, self._data)
        self._qpos[self._angles] = np.concatenate((motors, knees))
        self._qvel[self._speeds] = np.concatenate((speeds, knee_speeds))
        self._qpos[:3] = origin[0:3]
        self._qpos[_XYZW] = origin[3:7]
        self._qvel[:3] = origin[7:10]
        self._qvel[3:6] = rotation_from_quaternion(origin[3:7]).T @ origin[10:13]
        if self._patches.exist:
            self._mujoco.mj_kinematics(self._compiled, self._data)  # where the toes are

    def touching_height_m(self, position_rad: Array, quaternion: Array) -> float:
        """Return the height of the body's link origin at which the lowest toe touches the floor.

        Raises:
            SimError: No knees close the legs at these angles.
        """
        motors = position_rad * self._directions
        knees, _ = self._legs.close(motors, np.zeros_like(motors))
        return self._lowest.depth_m(motors, knees, quaternion)

    def measure(self, position_rad: Array, velocity_rad_s: Array, base: Array) -> None:
        """Write motor angles and speeds (8,), and the motion of the body's link (13,)."""
        np.multiply(self._qpos[self._motor_angles], self._directions, out=position_rad)
        np.multiply(self._qvel[self._motor_speeds], self._directions, out=velocity_rad_s)
        turn = normalized(self._qpos[_XYZW])
        # A free joint turns about its body's own axes.
        rate = turned(turn, self._qvel[3:6])
        base[:] = (*self._qpos[:3], *turn, *self._qvel[:3], *rate)

    def step(self, torque_nm: Array, push_n: Array | None) -> None:
        """Advance one tick under motor torques (8,) and a force (3,) on the body."""
        self.prepare()
        self._torque[self._motor_speeds] = torque_nm * self._directions
        self._push[:] = 0.0 if push_n is None else push_n
        if self._patches.exist:
            self._set_friction()
        self._mujoco.mj_step(self._compiled, self._data)
        joints = self._qvel[_BODY_SPEEDS:]
        np.minimum(np.maximum(joints, -_MAX_JOINT_RAD_S), _MAX_JOINT_RAD_S, out=joints)

    def joint_positions(self) -> Array:
        """Return the joint angles of motors, then knees, joint axes, shape (16,)."""
        angles: Array = self._qpos[self._angles]
        return angles

    def close(self) -> None:
        """Do nothing: MuJoCo's memory goes with the engine."""


def import_mujoco() -> Any:
    """Return the ``mujoco`` module; its warnings go to the log ``sim.engines.mujoco``.

    Otherwise they would go to the screen and to a file MUJOCO_LOG.TXT in the user's folder.

    Raises:
        SimError: It is not installed.
    """
    try:
        module = importlib.import_module("mujoco")
    except ImportError as error:
        raise SimError("the MuJoCo plant needs mujoco: pip install '.[mujoco]'") from error
    module.set_mju_user_warning(_logger.debug)
    return module


def build(model: MinitaurModel, tree: LinkTree, params: PlantParams) -> Any:
    """Compile a ``mujoco.MjModel`` of the robot on a ground.

    Args:
        model: Names and loop closures.
        tree: The model's links and joints, merged.
        params: Masses, inertias, frictions and ground of the episode.

    Raises:
        SimError: MuJoCo is not installed.
        ModelError: The tree holds what has no counterpart here, or MuJoCo read another mass than is
            written; names link or joint.
    """
    text = to_mjcf(model, tree, params)
    with decimal_points():
        compiled = import_mujoco().MjModel.from_xml_string(text)
    for link in tree.links:
        mass_scale, _ = _scales(params, link.name == tree.root)
        check_mass("MuJoCo", link, float(compiled.body(link.name).mass[0]), mass_scale)
    bodies = compiled.geom_bodyid[compiled.pair_geom2]
    for link in tree.links:
        if link.name not in model.lower_legs:
            continue
        stiffness, damping = toe_contact(params, dict(link.contact))
        # R is relative to a weight that only the compiled model knows.
        body = compiled.body(link.name)
        weight = float(body.invweight0[0])
        impedance = max(_SOFT, weight / (weight + 1.0 / _CORNER_KG))
        d_times_r = weight * (1.0 - impedance)
        touching = bodies == body.id
        compiled.pair_solimp[touching, :2] = impedance
        compiled.pair_solref[touching] = (-stiffness * d_times_r, -damping * d_times_r)
        compiled.pair_solreffriction[touching] = _stopping(0.0, impedance)
    return compiled


def _toe_pairs(model: MinitaurModel, compiled: Any) -> NDArray[np.int64]:
    """Return the numbers of pairs, shapes and bodies of the lower legs and the ground, (N, 3)."""
    lower_legs = [compiled.body(name).id for name in model.lower_legs]
    geoms = compiled.pair_geom2
    rows = np.stack((np.arange(len(geoms)), geoms, compiled.geom_bodyid[geoms]), axis=1)
    pairs: NDArray[np.int64] = np.ascontiguousarray(rows[np.isin(rows[:, 2], lower_legs)], np.int64)
    return pairs


def to_mjcf(model: MinitaurModel, tree: LinkTree, params: PlantParams) -> str:
    """Return MJCF text of the robot on a ground; arguments and errors as of :func:`build`."""
    root = ET.Element("mujoco", model=model.name)
    ET.SubElement(root, "compiler", angle="radian", inertiafromgeom="false", fusestatic="false")
    option = ET.SubElement(
        root,
        "option",
        timestep=joined((TICK_S,)),
        gravity=joined(gravity_m_s2(params).tolist()),
        integrator="Euler",  # semi-implicit, as Bullet's
        solver="Newton",
        cone="elliptic",
        impratio=joined((1.0 / (_CORNER_KG * _FRICTION_PER_KG),)),
    )
    # A diverged simulation must not be reset to the start pose in silence. A knee's damping acts by
    # the speed at the start of a tick, as Bullet's does.
    ET.SubElement(option, "flag", autoreset="disable", eulerdamp="disable")
    world = ET.SubElement(root, "worldbody")
    ET.SubElement(world, "geom", name=FLOOR, type="plane", size="0 0 1")
    boxes = Boxes(params)
    w_first = np.roll(boxes.quaternions, 1, axis=1).tolist()
    for number, half_m in enumerate(boxes.half_m.tolist()):
        # Of no contact type: what touches is a pair. At a place of its own, else MuJoCo would take
        # it for one that never moves.
        place = {"pos": joined((0.0, 0.0, -float(number + 1))), "quat": joined(w_first[number])}
        size = {"type": "box", "size": joined(half_m), "contype": "0", "conaffinity": "0"}
        ET.SubElement(world, "geom", {"name": _box(number)} | size | place)
    pairs = ET.SubElement(root, "contact")
    _Writer(model, tree, params, pairs, len(boxes.half_m)).body(world, tree.root, None)
    equality = ET.SubElement(root, "equality")
    for (right, _), (left, _) in model.closures:
        # By sites: given a point, MuJoCo would look for its counterpart at joint angles of zero.
        ET.SubElement(
            equality,
            "connect",
            site1=_pin(right),
            site2=_pin(left),
            solref=joined(_stopping(_PIN_ERP, _PIN_IMPEDANCE)),
            solimp=_constant(_PIN_IMPEDANCE),
        )
    if params.stand_height_m > 0.0:
        # The last one, so that the place where it holds the body can be set when that is known.
        solref, solimp = joined(_stopping(_PIN_ERP, _PIN_IMPEDANCE)), _constant(_PIN_IMPEDANCE)
        held = {"body1": "world", "body2": tree.root}
        ET.SubElement(equality, "weld", held, solref=solref, solimp=solimp)
    return ET.tostring(root, encoding="unicode")


def _scales(params: PlantParams, base: bool) -> tuple[float, float]:
    """Return the factors on mass and inertia of the base, or of a leg's link."""
    if base:
        return params.base_mass_scale, params.base_inertia_scale
    return params.leg_mass_scale, params.leg_inertia_scale


def _stopping(erp: float, impedance: float) -> tuple[float, float]:
    """Return a solref that leaves no speed after one tick but to take back ``erp`` of the error."""
    return -erp / TICK_S**2 * impedance, -impedance / TICK_S


def _constant(impedance: float) -> str:
    """Return a solimp that is the same at every depth."""
    return joined((impedance, impedance, 1.0, 0.5, 1.0))


def _box(number: int) -> str:
    return f"box_{number}"


def _pin(link: str) -> str:
    return f"{link}_pin"


def _place(pose: Pose) -> dict[str, str]:
    """Return the attributes that put a body or a shape at a pose in its parent."""
    return {"pos": joined(pose.xyz), "xyaxes": joined(pose.rotation[:, :2].T.ravel())}


class _Writer:
    """Writes the tree's bodies, one inside the other, and what touches the floor into ``pairs``."""

    def __init__(
        self,
        model: MinitaurModel,
        tree: LinkTree,
        params: PlantParams,
        pairs: ET.Element,
        boxes: int,
    ) -> None:
        self._model, self._tree, self._params, self._pairs = model, tree, params, pairs
        self._boxes = [_box(number) for number in range(boxes)]
        self._pins = dict(anchor for closure in model.closures for anchor in closure)

    def body(self, parent: ET.Element, name: str, joint: Joint | None) -> None:
        """Write a link, the joint above it and everything below; the root moves freely."""
        link = self._tree.link(name)
        body = ET.SubElement(parent, "body", name=name)
        if joint is None:
            ET.SubElement(body, "freejoint")
        else:
            body.attrib |= _place(joint.origin)
            self._joint(body, joint)
        self._inertial(body, link)
        for shape in link.collisions:
            if self._model.touches_floor(shape.source):
                self._shape(body, shape)
        if name in self._pins:
            ET.SubElement(body, "site", name=_pin(name), pos=joined(self._pins[name]))
        for below in self._tree.joints:
            if below.parent == name:
                self.body(body, below.child, below)

    def _joint(self, body: ET.Element, joint: Joint) -> None:
        if {"lower", "upper"} & dict(joint.limit).keys():
            raise ModelError(f"joint {joint.name}: the MuJoCo plant has free-turning hinges only")
        hinge = ET.SubElement(body, "joint", name=joint.name, type="hinge", axis=joined(joint.axis))
        if joint.name in self._model.motor_joints:
            self._dry_friction(hinge, self._params.motor_coulomb_nm)
        elif joint.name in self._model.knee_joints:
            hinge.set("damping", joined((self._params.knee_viscous_nm_s_per_rad,)))
            self._dry_friction(hinge, self._params.knee_coulomb_nm)

    def _dry_friction(self, hinge: ET.Element, bound_nm: float) -> None:
        hinge.set("frictionloss", joined((bound_nm,)))
        hinge.set("solreffriction", joined(_stopping(0.0, _HARD)))
        hinge.set("solimpfriction", _constant(_HARD))

    def _inertial(self, body: ET.Element, link: Link) -> None:
        base = link.name == self._tree.root
        mass_scale, inertia_scale = _scales(self._params, base)
        shift = (self._params.base_com_x_m if base else 0.0, 0.0, 0.0)
        i = link.inertia * mass_scale * inertia_scale
        ET.SubElement(
            body,
            "inertial",
            pos=joined(np.add(link.com, shift)),
            mass=joined((link.mass * mass_scale,)),
            fullinertia=joined((i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2])),
        )

    def _shape(self, body: ET.Element, shape: Collision) -> None:
        kind, size = shape.geometry.kind, shape.geometry.size
        if kind == "box":
            half = tuple(0.5 * side for side in size)
        elif kind == "cylinder":
            half = (size[0], 0.5 * size[1])
        else:
            raise ModelError(f"link {shape.source}: in MuJoCo no {kind} touches the floor")
        name = f"{shape.source}_{len(self._pairs)}"
        boxes = self._boxes if shape.source in self._model.lower_legs else []
        # Of no contact type: what touches is the pair below.
        geom = {"name": name, "type": kind, "size": joined(half)} | _place(shape.origin)
        ET.SubElement(body, "geom", geom, contype="0", conaffinity="0")
        # Bullet multiplies the two frictions, and the floor's is 1.
        friction = self._params.contact_friction
        for ground in (FLOOR, *boxes):
            ET.SubElement(
                self._pairs,
                "pair",
                geom1=ground,
                geom2=name,
                condim="3",
                friction=joined((friction, friction, 0.0, 0.0, 0.0)),
                solref=joined(_stopping(_CONTACT_ERP, _HARD)),
                solreffriction=joined(_stopping(0.0, _HARD)),
                solimp=_constant(_HARD),
            )
