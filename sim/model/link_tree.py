"""The values of a rigid-body model: links, joints and the tree they form.

Read from and written to URDF by ``sim.model.urdf``. Standard library and numpy; must not import a
physics engine.

Frames: a link's frame is the frame of the joint above it. Everything of a link (centre of mass,
inertia axes, shapes, joints below it) is given in that link frame. Lengths are metres, angles
radians, masses kg. Arrays are read-only. Rotations are 3x3 matrices; ``rpy`` means URDF's
fixed-axis roll, pitch, yaw.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.errors import SimError

Array = NDArray[np.float64]
# Bullet's <contact> element, one per link: (tag, value or None for a flag).
Contact = tuple[tuple[str, float | None], ...]

PACKAGE_SCHEME = "package://"
"""A mesh whose name begins so is a file of an installed Python package, found when it is drawn."""


class ModelError(SimError, ValueError):
    """A robot model that cannot be used: the message says which file, link or joint and why."""


def frozen(values: ArrayLike) -> Array:
    """Return a read-only copy as float64."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def rotation_from_rpy(rpy: ArrayLike) -> Array:
    """Return the matrix of URDF's roll, pitch, yaw: Rz(yaw) Ry(pitch) Rx(roll)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return frozen(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(rotation: Array) -> tuple[float, float, float]:
    """Return roll, pitch, yaw of a rotation; at pitch +-90 degrees the roll is set to zero."""
    r = rotation
    cos_pitch = math.hypot(r[0, 0], r[1, 0])
    pitch = math.atan2(-r[2, 0], cos_pitch)
    if cos_pitch < 1e-9:
        return 0.0, pitch, math.atan2(-r[0, 1], r[1, 1])
    return math.atan2(r[2, 1], r[2, 2]), pitch, math.atan2(r[1, 0], r[0, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Position (3,) and rotation (3, 3) of a child frame in its parent frame."""

    xyz: Array = field(default_factory=lambda: frozen(np.zeros(3)))
    rotation: Array = field(default_factory=lambda: frozen(np.eye(3)))

    def __matmul__(self, other: "Pose") -> "Pose":
        return Pose(frozen(self.apply(other.xyz)), frozen(self.rotation @ other.rotation))

    def apply(self, point: ArrayLike) -> Array:
        """Return a point (3,) of the child frame in the parent frame."""
        return np.asarray(self.rotation @ np.asarray(point, dtype=np.float64) + self.xyz)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A primitive or mesh; `size` holds box sides, (radius, length) or the mesh scale."""

    kind: str
    size: tuple[float, ...]
    mesh: str | None = None  # absolute path or package://..., wherever the written file lies


@dataclass(frozen=True, slots=True, eq=False)
class Visual:
    """A drawn shape with its colour."""

    geometry: Geometry
    origin: Pose
    material: str | None = None
    rgba: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Collision:
    """A touching shape; it remembers the link of the original file that it belongs to."""

    geometry: Geometry
    origin: Pose
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A rigid body. `inertia` (3, 3) is about the centre of mass `com` (3,), in link axes."""

    name: str
    mass: float
    com: Array
    inertia: Array
    visuals: tuple[Visual, ...] = ()
    collisions: tuple[Collision, ...] = ()
    contact: Contact = ()


def check_mass(engine: str, link: Link, loaded_kg: float, scale: float = 1.0) -> None:
    """Refuse a link that an engine has read otherwise than it is described.

    Args:
        engine: Name of the engine.
        link: The description.
        loaded_kg: Mass that the engine holds.
        scale: Factor on the described mass that the engine was given.

    Raises:
        ModelError: The masses differ; names the link and both.
    """
    if not math.isclose(loaded_kg, link.mass * scale, rel_tol=1e-9):
        raise ModelError(
            f"{engine} read link {link.name} as {loaded_kg:g} kg instead of "
            f"{link.mass * scale:g} kg: is another thread changing the locale?"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Connects `child` to `parent`; `axis` is a unit vector in the child's link frame.

    `limit` has what is given of lower, upper, effort and velocity. Without lower and upper, a joint
    turns freely.
    """

    name: str
    kind: str
    parent: str
    child: str
    origin: Pose
    axis: Array
    limit: tuple[tuple[str, float], ...] = ()

    def motion(self, position: float) -> Pose:
        """Return the child's pose in the joint frame at a joint angle (rad)."""
        if self.kind == "fixed":
            return Pose()
        x, y, z = self.axis
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        turn = np.eye(3) + math.sin(position) * cross + (1 - math.cos(position)) * cross @ cross
        return Pose(rotation=frozen(turn))


@dataclass(frozen=True, slots=True, eq=False)
class LinkTree:
    """Links and joints in file order; checked to be one tree when made."""

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    root: str = field(init=False)

    def __post_init__(self) -> None:
        for what, names in (
            ("link", [link.name for link in self.links]),
            ("joint", [joint.name for joint in self.joints]),
            ("parent joint of link", [joint.child for joint in self.joints]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ModelError(f"{self.name}: more than one {what} {', '.join(twice)}")
        known = {link.name for link in self.links}
        for joint in self.joints:
            if missing := {joint.parent, joint.child} - known:
                raise ModelError(
                    f"{self.name}: joint {joint.name} names missing link {sorted(missing)}"
                )
        roots = sorted(known - {joint.child for joint in self.joints})
        if len(roots) != 1:
            raise ModelError(f"{self.name}: needs one root link, has {roots or 'none (a cycle)'}")
        object.__setattr__(self, "root", roots[0])
        if astray := known - {roots[0]} - {joint.child for joint in self.downward()}:
            raise ModelError(f"{self.name}: links in a cycle: {', '.join(sorted(astray))}")

    @property
    def moving_joints(self) -> tuple[Joint, ...]:
        """The joints that are not fixed, in file order."""
        return tuple(joint for joint in self.joints if joint.kind != "fixed")

    def link(self, name: str) -> Link:
        """Return the link of that name."""
        for link in self.links:
            if link.name == name:
                return link
        raise ModelError(f"{self.name}: no link {name}")

    def downward(self) -> Iterator[Joint]:
        """Yield the joints reachable from the root, a parent's joint before its children's."""
        below: dict[str, list[Joint]] = {}
        for joint in self.joints:
            below.setdefault(joint.parent, []).append(joint)
        waiting = list(below.get(self.root, ()))
        while waiting:
            joint = waiting.pop(0)
            yield joint
            waiting.extend(below.get(joint.child, ()))

    def body(self) -> dict[str, Pose]:
        """Return the poses in the root frame of the root and of what fixed joints hold to it."""
        found = {self.root: Pose()}
        for joint in self.downward():
            if joint.kind == "fixed" and joint.parent in found:
                found[joint.child] = found[joint.parent] @ joint.origin
        return found

    def poses(self, positions: Mapping[str, float]) -> dict[str, Pose]:
        """Return every link's pose in the root frame; joints not named stand at zero."""
        if unknown := set(positions) - {joint.name for joint in self.joints}:
            raise ModelError(f"{self.name}: no joint {', '.join(sorted(unknown))}")
        found = {self.root: Pose()}
        for joint in self.downward():
            motion = joint.motion(positions.get(joint.name, 0.0))
            found[joint.child] = found[joint.parent] @ joint.origin @ motion
        return found
