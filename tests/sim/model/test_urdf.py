import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sim.model.link_tree import ModelError, Pose, rotation_from_rpy, rpy_from_rotation
from sim.model.minitaur import MODELS, load_tree
from sim.model.urdf import merge_fixed, parse_urdf, to_urdf


def assert_same(left: object, right: object, atol: float = 0.0) -> None:
    """Check every field of a tree; numbers exactly, but for poses."""
    if isinstance(left, Pose):
        atol = 1e-14
    if isinstance(left, np.ndarray):
        assert_allclose(left, right, rtol=0, atol=atol)
    elif isinstance(left, tuple):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other, atol)
    elif dataclasses.is_dataclass(left):
        assert type(left) is type(right)
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name), atol)
    else:
        assert left == right


def test_merging_keeps_every_link_where_it_was(name: str) -> None:
    full, merged = load_tree(name, merged=False), load_tree(name, merged=True)
    assert (len(full.joints), len(merged.joints)) == (26, 16)
    rng = np.random.default_rng(2)
    positions = {joint.name: rng.uniform(-3, 3) for joint in full.moving_joints}
    poses = full.poses(positions)
    for link, pose in merged.poses(positions).items():
        assert_same(pose, poses[link])


def test_merging_keeps_every_shape_where_it_was(name: str) -> None:
    full, merged = load_tree(name, merged=False), load_tree(name, merged=True)
    places = []
    for tree in (full, merged):
        poses = tree.poses(MODELS[name].start_positions)
        places.append(
            sorted(
                (shape.source, *(poses[link.name] @ shape.origin).xyz.round(9) + 0.0)
                for link in tree.links
                for shape in link.collisions
            )
        )
    assert places[0] == places[1]
    assert sum(len(link.visuals) for link in merged.links) == sum(
        len(link.visuals) for link in full.links
    )


@pytest.mark.parametrize("merged", [False, True])
def test_written_file_reads_back_the_same(name: str, merged: bool, tmp_path: Path) -> None:
    tree = load_tree(name, merged=merged)
    path = tmp_path / "copy.urdf"
    path.write_text(to_urdf(tree, visuals=True, keep_collision=lambda _: True))
    assert_same(parse_urdf(path), tree)


def test_rpy_and_rotation_are_inverse() -> None:
    rng = np.random.default_rng(3)
    for rpy in (*rng.uniform(-4, 4, size=(50, 3)), (0.3, math.pi / 2, 1.0), (1, -math.pi / 2, 2)):
        rotation = rotation_from_rpy(rpy)
        assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
        assert_allclose(rotation_from_rpy(rpy_from_rotation(rotation)), rotation, atol=1e-14)
    assert_allclose(rotation_from_rpy((0, 0, math.pi / 2)) @ (1, 0, 0), (0, 1, 0), atol=1e-15)


TWO_BOXES = """<robot name="two">
  <link name="lower"><inertial><mass value="2"/>
    <inertia ixx="0.1" ixy="0" ixz="0" iyy="0.2" iyz="0" izz="0.25"/></inertial></link>
  <link name="upper"><inertial><origin xyz="0 0 0.5"/><mass value="6"/>
    <inertia ixx="0.3" ixy="0" ixz="0" iyy="0.5" iyz="0" izz="0.6"/></inertial>
    <collision><origin xyz="0 0 0.5"/><geometry><box size="1 2 3"/></geometry></collision></link>
  <link name="arm"><inertial><mass value="1"/>
    <inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial></link>
  <joint name="weld" type="fixed"><parent link="lower"/><child link="upper"/>
    <origin xyz="1 0 0" rpy="1.5707963267948966 0 0"/></joint>
  <joint name="hinge" type="revolute"><parent link="upper"/><child link="arm"/>
    <origin xyz="0 0 2"/><axis xyz="0 0 2"/><limit lower="-1" upper="1"/></joint>
</robot>"""


def write(folder: Path, text: str) -> Path:
    path = folder / "robot.urdf"
    path.write_text(text)
    return path


def test_two_boxes_against_hand_computed_composite(tmp_path: Path) -> None:
    """Turned by +90 degrees about x, the upper box's z becomes -y: its CoM lies at (1, -.5, 0)."""
    merged = merge_fixed(parse_urdf(write(tmp_path, TWO_BOXES)))
    link = merged.link("lower")
    assert [part.name for part in merged.links] == ["lower", "arm"]
    assert link.mass == 8
    assert_allclose(link.com, (0.75, -0.375, 0), atol=1e-15)
    # Reduced mass 2 * 6 / 8 = 1.5 at the distance (1, -.5, 0); the upper box's iyy, izz swap.
    expected = [
        [0.1 + 0.3 + 1.5 * 0.25, 1.5 * 0.5, 0],
        [1.5 * 0.5, 0.2 + 0.6 + 1.5 * 1.0, 0],
        [0, 0, 0.25 + 0.5 + 1.5 * 1.25],
    ]
    assert_allclose(link.inertia, expected, atol=1e-15)
    (shape,) = link.collisions
    assert shape.source == "upper"
    assert_allclose(shape.origin.xyz, (1, -0.5, 0), atol=1e-15)
    (hinge,) = merged.joints
    assert (hinge.parent, hinge.child) == ("lower", "arm")
    assert_allclose(hinge.origin.xyz, (1, -2, 0), atol=1e-15)
    assert_allclose(hinge.axis, (0, 0, 1))
    # The hinge turns about its own z, the root's -y: x goes to z.
    turned = merged.poses({"hinge": math.pi / 2})["arm"]
    assert_allclose(turned.apply((1, 0, 0)), (1, -2, 1), atol=1e-15)


def test_rotated_inertial_frame_is_turned_into_link_axes(tmp_path: Path) -> None:
    text = TWO_BOXES.replace('xyz="0 0 0.5"/><mass', 'rpy="0 0 1.5707963267948966"/><mass')
    inertia = parse_urdf(write(tmp_path, text)).link("upper").inertia
    assert_allclose(inertia, np.diag((0.5, 0.3, 0.6)), atol=1e-15)


def test_a_contact_moves_to_the_merged_link_unless_two_disagree(tmp_path: Path) -> None:
    contact = "<contact><friction_anchor/><lateral_friction value='{}'/></contact>"
    one = TWO_BOXES.replace('<link name="upper">', '<link name="upper">' + contact.format(0.7))
    link = merge_fixed(parse_urdf(write(tmp_path, one))).link("lower")
    assert link.contact == (("friction_anchor", None), ("lateral_friction", 0.7))
    two = one.replace('<link name="lower">', '<link name="lower">' + contact.format(0.8))
    with pytest.raises(ModelError, match="lower: merges links with different <contact>"):
        merge_fixed(parse_urdf(write(tmp_path, two)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('<child link="arm"/>', '<child link="leg"/>', "hinge names missing link.*leg"),
        ('<parent link="lower"/>', '<parent link="arm"/>', "cycle"),
        ('<parent link="upper"/>', '<parent link="arm"/>', "cycle|one root"),
        ('<link name="arm">', '<link name="upper">', "more than one link upper"),
        ('name="hinge"', 'name="weld"', "more than one joint weld"),
        ('<child link="arm"/>', '<child link="upper"/>', "more than one parent joint"),
        ('<box size="1 2 3"/>', '<mesh filename="none.obj"/>', "upper: mesh none.obj not found"),
        ('<box size="1 2 3"/>', '<box size="1 2"/>', "link upper <box>: expected 3"),
        ('<box size="1 2 3"/>', "<plane/>", "must hold one of box"),
        ('<mass value="6"/>', "", "link upper has no <mass>"),
        ('<mass value="6"/>', '<mass value="six"/>', "upper <mass value>: expected 1 finite"),
        ('<mass value="6"/>', '<mass value="nan"/>', "upper <mass value>: expected 1 finite"),
        ('<mass value="6"/>', '<mass value="-6"/>', "upper: negative mass"),
        ('izz="0.6"', 'izz="0.9"', "upper: no rigid body has principal inertias"),
        ('type="revolute"', 'type="floating"', "hinge: type floating is not one of"),
        ('<axis xyz="0 0 2"/>', '<axis xyz="0 0 0"/>', "hinge: axis has length zero"),
        ("<limit ", "<dynamics/><limit ", "hinge: <dynamics> is not supported"),
        ("</robot>", "", "not valid XML"),
        ("robot", "sdf", "not a URDF"),
    ],
)
def test_bad_files_are_refused_by_name(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in TWO_BOXES
    with pytest.raises(ModelError, match=message) as error:
        parse_urdf(write(tmp_path, TWO_BOXES.replace(old, new)))
    assert "robot.urdf" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.urdf: cannot be read: No such file"):
        parse_urdf(tmp_path / "none.urdf")
