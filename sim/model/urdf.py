"""Robot models: read a URDF, fold its fixed joints away exactly, write it again.

PyBullet can merge fixed links while loading, but then loses the base's inertial origin. Here the
merge is done on the parsed file, with composite mass, centre of mass and inertia, and written out
as a new URDF that any engine can load. The values (Link, Joint, LinkTree ...), their frames and
units are in ``sim.model.link_tree``. Standard library and numpy; must not import a physics engine.
"""

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sim.model.link_tree import (
    PACKAGE_SCHEME,
    Array,
    Collision,
    Geometry,
    Joint,
    Link,
    LinkTree,
    ModelError,
    Pose,
    Visual,
    frozen,
    rotation_from_rpy,
    rpy_from_rotation,
)

JOINT_KINDS = ("fixed", "revolute", "continuous")
# Per geometry element: its numeric attributes in the order they are kept in Geometry.size. One
# attribute alone holds three numbers, else each holds one.
_GEOMETRY = {"box": ("size",), "cylinder": ("radius", "length"), "mesh": ("scale",)}


def parse_urdf(path: str | Path) -> LinkTree:
    """Read a URDF file; any error in it raises ModelError with file and element."""
    path = Path(path)
    try:
        robot = ET.parse(path).getroot()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except ET.ParseError as error:
        raise ModelError(f"{path}: not valid XML: {error}") from error
    if robot.tag != "robot":
        raise ModelError(f"{path}: not a URDF: its root element is <{robot.tag}>")
    try:
        colours = {m.get("name"): _colour(m) for m in robot.findall("material")}
        links = tuple(_parse_link(e, path.parent, colours) for e in robot.findall("link"))
        joints = tuple(_parse_joint(element) for element in robot.findall("joint"))
        return LinkTree(_text(robot, "name"), links, joints)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _text(element: ET.Element, attribute: str) -> str:
    value = element.get(attribute)
    if not value:
        raise ModelError(f"<{element.tag}> has no {attribute}")
    return value


def _numbers(text: str, count: int, where: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ModelError(f"{where}: expected {count} finite number(s), got {text!r}")
    return values


def _number(element: ET.Element, attribute: str, where: str) -> float:
    return _numbers(_text(element, attribute), 1, f"{where} <{element.tag} {attribute}>")[0]


def _child(element: ET.Element, tag: str, where: str) -> ET.Element:
    child = element.find(tag)
    if child is None:
        raise ModelError(f"{where} has no <{tag}>")
    return child


def _parse_pose(element: ET.Element, where: str) -> Pose:
    origin = element.find("origin")
    if origin is None:
        return Pose()
    xyz, rpy = (
        _numbers(origin.get(key, "0 0 0"), 3, f"{where} <origin {key}>") for key in ("xyz", "rpy")
    )
    return Pose(frozen(xyz), rotation_from_rpy(rpy))


def _colour(material: ET.Element) -> tuple[float, ...] | None:
    color = material.find("color")
    return None if color is None else _numbers(_text(color, "rgba"), 4, "<color>")


def _parse_geometry(shape: ET.Element, folder: Path, where: str) -> Geometry:
    shapes = list(_child(shape, "geometry", where))
    if len(shapes) != 1 or shapes[0].tag not in _GEOMETRY:
        raise ModelError(f"{where}: <geometry> must hold one of {', '.join(_GEOMETRY)}")
    (element,) = shapes
    kind, keys = element.tag, _GEOMETRY[element.tag]
    text = " ".join(element.get(key, "1 1 1" if kind == "mesh" else "") for key in keys)
    size = _numbers(text, 3 if len(keys) == 1 else len(keys), f"{where} <{kind}>")
    if kind != "mesh":
        return Geometry(kind, size)
    name = _text(element, "filename")
    if name.startswith(PACKAGE_SCHEME):
        return Geometry(kind, size, name)
    mesh = Path(os.path.abspath(folder / name.removeprefix("file://")))
    if not mesh.is_file():
        raise ModelError(f"{where}: mesh {name} not found at {mesh}")
    return Geometry(kind, size, str(mesh))


def _parse_link(
    element: ET.Element, folder: Path, colours: dict[str | None, tuple[float, ...] | None]
) -> Link:
    name = _text(element, "name")
    where = f"link {name}"
    # Bullet would invent a mass of 1 kg for a link without one.
    inertial = _child(element, "inertial", where)
    mass = _number(_child(inertial, "mass", where), "value", where)
    pose = _parse_pose(inertial, where)
    tensor = _child(inertial, "inertia", where)
    xx, xy, xz, yy, yz, zz = (
        _number(tensor, key, where) for key in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")
    )
    inertia = pose.rotation @ [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]] @ pose.rotation.T
    _check_inertia(mass, inertia, where)
    visuals = []
    for shape in element.findall("visual"):
        material = shape.find("material")
        label = None if material is None else material.get("name")
        rgba = colours.get(label) if material is None else _colour(material) or colours.get(label)
        geometry = _parse_geometry(shape, folder, where)
        visuals.append(Visual(geometry, _parse_pose(shape, where), label, rgba))
    collisions = []
    for shape in element.findall("collision"):
        geometry = _parse_geometry(shape, folder, where)
        origin = _parse_pose(shape, where)
        collisions.append(Collision(geometry, origin, shape.get("source", name)))
    contact = tuple(
        (item.tag, _number(item, "value", where) if "value" in item.attrib else None)
        for item in element.iterfind("contact/*")
    )
    return Link(name, mass, pose.xyz, frozen(inertia), tuple(visuals), tuple(collisions), contact)


def _check_inertia(mass: float, inertia: Array, where: str) -> None:
    """Refuse what Bullet would silently set to zero."""
    if mass < 0:
        raise ModelError(f"{where}: negative mass {mass}")
    small, middle, large = np.linalg.eigvalsh(inertia)
    if small < -1e-12 * large or large > (small + middle) * (1 + 1e-9):
        raise ModelError(
            f"{where}: no rigid body has principal inertias {small}, {middle}, {large}"
        )


def _parse_joint(element: ET.Element) -> Joint:
    name, kind = _text(element, "name"), _text(element, "type")
    where = f"joint {name}"
    if kind not in JOINT_KINDS:
        raise ModelError(f"{where}: type {kind} is not one of {', '.join(JOINT_KINDS)}")
    axis = element.find("axis")
    direction = np.array((1.0, 0.0, 0.0))
    if axis is not None:
        direction = np.array(_numbers(_text(axis, "xyz"), 3, f"{where} <axis>"))
    length = float(np.linalg.norm(direction))
    if length == 0 and kind != "fixed":
        raise ModelError(f"{where}: axis has length zero")
    if element.find("dynamics") is not None:
        raise ModelError(f"{where}: <dynamics> is not supported, plants have their own friction")
    limit = element.find("limit")
    keys = ("lower", "upper", "effort", "velocity")
    limits = () if limit is None else [key for key in keys if key in limit.attrib]
    return Joint(
        name,
        kind,
        _text(_child(element, "parent", where), "link"),
        _text(_child(element, "child", where), "link"),
        _parse_pose(element, where),
        frozen(direction / (length or 1.0)),
        tuple((key, _number(_child(element, "limit", where), key, where)) for key in limits),
    )


def merge_fixed(tree: LinkTree) -> LinkTree:
    """Fold every link below a fixed joint into its parent; the mechanics stay the same.

    A merged link keeps the name and frame of its topmost link. Of the links folded together at most
    one <contact> may be given (or equal ones): Bullet holds a single one per body.
    """
    owner = {tree.root: (tree.root, Pose())}
    for joint in tree.downward():
        top, pose = owner[joint.parent]
        fixed = joint.kind == "fixed"
        owner[joint.child] = (top, pose @ joint.origin) if fixed else (joint.child, Pose())
    groups: dict[str, list[tuple[Link, Pose]]] = {}
    for link in tree.links:
        top, pose = owner[link.name]
        groups.setdefault(top, []).append((link, pose))
    links = tuple(_composite(name, group) for name, group in groups.items())
    joints = tuple(
        replace(joint, parent=owner[joint.parent][0], origin=owner[joint.parent][1] @ joint.origin)
        for joint in tree.moving_joints
    )
    return LinkTree(tree.name, links, joints)


def _composite(name: str, parts: list[tuple[Link, Pose]]) -> Link:
    """Return one link made of links at given poses in its frame."""
    mass = math.fsum(link.mass for link, _ in parts)
    moment = np.sum([link.mass * pose.apply(link.com) for link, pose in parts], axis=0)
    com = moment / mass if mass > 0 else np.zeros(3)
    inertia = np.zeros((3, 3))
    for link, pose in parts:
        arm = pose.apply(link.com) - com
        inertia += pose.rotation @ link.inertia @ pose.rotation.T
        inertia += link.mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    contacts = {link.contact for link, _ in parts if link.contact}
    if len(contacts) > 1:
        raise ModelError(f"link {name}: merges links with different <contact> elements")
    return Link(
        name,
        mass,
        frozen(com),
        frozen((inertia + inertia.T) / 2),
        tuple(replace(v, origin=pose @ v.origin) for link, pose in parts for v in link.visuals),
        tuple(replace(c, origin=pose @ c.origin) for link, pose in parts for c in link.collisions),
        contacts.pop() if contacts else (),
    )


def to_urdf(tree: LinkTree, *, visuals: bool, keep_collision: Callable[[str], bool]) -> str:
    """Return URDF text at full precision; its meshes do not depend on where it is saved.

    Args:
        tree: what to write; inertias keep their off-diagonal terms, which Bullet (loading with
            URDF_USE_INERTIA_FROM_FILE) and MuJoCo diagonalise themselves.
        visuals: whether drawn shapes are written.
        keep_collision: asked with the original link name of each collision shape.
    """
    robot = ET.Element("robot", name=tree.name)
    for link in tree.links:
        _write_link(robot, link, visuals, keep_collision)
    for joint in tree.joints:
        _write_joint(robot, joint)
    ET.indent(robot)
    return '<?xml version="1.0"?>\n' + ET.tostring(robot, encoding="unicode") + "\n"


def joined(values: Iterable[float]) -> str:
    """Return numbers as an XML attribute, at full precision, whatever the locale."""
    return " ".join(repr(float(value)) for value in values)


def _write_pose(parent: ET.Element, pose: Pose) -> None:
    rpy = joined(rpy_from_rotation(pose.rotation))
    ET.SubElement(parent, "origin", rpy=rpy, xyz=joined(pose.xyz))


def _write_shape(shape: ET.Element, geometry: Geometry, origin: Pose) -> None:
    _write_pose(shape, origin)
    element = ET.SubElement(ET.SubElement(shape, "geometry"), geometry.kind)
    if geometry.mesh is not None:
        element.set("filename", geometry.mesh)
    keys = _GEOMETRY[geometry.kind]
    groups = [geometry.size] if len(keys) == 1 else [(value,) for value in geometry.size]
    for key, values in zip(keys, groups, strict=True):
        element.set(key, joined(values))


def _write_link(
    robot: ET.Element, link: Link, visuals: bool, keep_collision: Callable[[str], bool]
) -> None:
    element = ET.SubElement(robot, "link", name=link.name)
    if link.contact:
        contact = ET.SubElement(element, "contact")
        for tag, value in link.contact:
            ET.SubElement(contact, tag, {} if value is None else {"value": joined((value,))})
    inertial = ET.SubElement(element, "inertial")
    _write_pose(inertial, Pose(xyz=link.com))
    ET.SubElement(inertial, "mass", value=joined((link.mass,)))
    names = {f"i{'xyz'[i]}{'xyz'[j]}": (i, j) for i in range(3) for j in range(i, 3)}
    tensor = {name: joined((link.inertia[index],)) for name, index in names.items()}
    ET.SubElement(inertial, "inertia", tensor)
    for visual in link.visuals if visuals else ():
        shape = ET.SubElement(element, "visual")
        _write_shape(shape, visual.geometry, visual.origin)
        if visual.material is not None:
            material = ET.SubElement(shape, "material", name=visual.material)
            if visual.rgba is not None:
                ET.SubElement(material, "color", rgba=joined(visual.rgba))
    for collision in link.collisions:
        if keep_collision(collision.source):
            shape = ET.SubElement(element, "collision", source=collision.source)
            _write_shape(shape, collision.geometry, collision.origin)


def _write_joint(robot: ET.Element, joint: Joint) -> None:
    element = ET.SubElement(robot, "joint", name=joint.name, type=joint.kind)
    ET.SubElement(element, "parent", link=joint.parent)
    ET.SubElement(element, "child", link=joint.child)
    _write_pose(element, joint.origin)
    ET.SubElement(element, "axis", xyz=joined(joint.axis))
    if joint.limit:
        ET.SubElement(element, "limit", {key: joined((value,)) for key, value in joint.limit})
