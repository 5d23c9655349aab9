"""Derive the robot's descriptions in ``sim/model/data`` from the URDF files of PyBullet's data.

PyBullet has wheels for few computers, and its data come with it. So the numbers of its two files
are kept here, in a format of this project; `python -m sim.model.derive` writes them anew where
PyBullet is installed. Must not import a physics engine.

Two things differ. A mesh, which only pictures need, is named by the package that has it. And a
right angle is exact: the files write 1.57075 rad, so the two chains of a leg do not lie in one
plane and miss each other at the pin by 0.02 mm. No joint can close that gap. An engine that tries
to bends the leg with kilonewtons, the more the shorter its step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robot_firmware_bridge.command_line import EXIT_OK, command
from sim.model.link_tree import PACKAGE_SCHEME, LinkTree, ModelError, Pose, frozen
from sim.model.minitaur import MODELS
from sim.model.tree_file import tree_to_json
from sim.model.urdf import parse_urdf

_PACKAGE = "pybullet_data"
# The largest rounding of an angle in the files, rad, with room.
_ROUNDING_RAD = 1e-4


def data_folder() -> Path:
    """Return the folder of PyBullet's data on this computer; the package is not imported.

    Raises:
        ModelError: The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{_PACKAGE} not found: install PyBullet (pip install '.[sim]')")
    return Path(spec.submodule_search_locations[0])


def derive(file: str) -> str:
    """Return the text of the description derived from a URDF file.

    Args:
        file: Its path in ``pybullet_data``.

    Raises:
        ModelError: PyBullet is not installed.
    """
    folder = data_folder()
    source = {
        "file": f"{_PACKAGE}/{file}",
        "version": importlib.metadata.version("pybullet"),
        "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
        "origin": "Bullet Collision Detection and Physics Library, zlib licence",
        "derived_by": "python -m sim.model.derive",
    }
    tree = with_right_angles(parse_urdf(folder / file))
    return tree_to_json(_with_package_meshes(tree, folder), source)


def with_right_angles(tree: LinkTree) -> LinkTree:
    """Return a tree whose joints are turned by exact right angles where nearly so, within 1e-4."""
    joints = []
    for joint in tree.joints:
        rotation = np.round(joint.origin.rotation)
        if np.abs(rotation - joint.origin.rotation).max() < _ROUNDING_RAD:
            joint = dataclasses.replace(joint, origin=Pose(joint.origin.xyz, frozen(rotation)))
        joints.append(joint)
    return LinkTree(tree.name, tree.links, tuple(joints))


def _with_package_meshes(tree: LinkTree, folder: Path) -> LinkTree:
    """Return a tree whose meshes are named by package, not by this computer's folders."""
    links = []
    for link in tree.links:
        visuals = []
        for visual in link.visuals:
            geometry = visual.geometry
            if geometry.mesh is not None:
                inside = Path(geometry.mesh).relative_to(folder).as_posix()
                mesh = f"{PACKAGE_SCHEME}{_PACKAGE}/{inside}"
                geometry = dataclasses.replace(geometry, mesh=mesh)
            visuals.append(dataclasses.replace(visual, geometry=geometry))
        links.append(dataclasses.replace(link, visuals=tuple(visuals)))
    return LinkTree(tree.name, tuple(links), tree.joints)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the descriptions of all models; return the exit code."""
    del arguments
    for model in MODELS.values():
        model.path.write_text(derive(model.file), encoding="utf-8")
        print(model.path)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
