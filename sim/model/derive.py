"""Derive the robot's description files of ``sim/model/data`` from those that ship with PyBullet.

PyBullet has wheels for few computers, and its data come with it. So the numbers of its two URDF
files are kept here: `python -m sim.model.derive` writes them anew where PyBullet is installed. They
hold all elements and values of the originals; comments are gone, and a mesh is named by the package
that has it. Must not import a physics engine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from robot_firmware_bridge.command_line import EXIT_OK, command
from sim.model.link_tree import ModelError
from sim.model.minitaur import MODELS
from sim.model.urdf import PACKAGE_SCHEME

_PACKAGE = "pybullet_data"
_HEADER = """\
<?xml version="1.0" encoding="utf-8"?>
<!-- Derived from {package} {version}, file {file},
     SHA-256 {digest},
     by `python -m sim.model.derive`. This is an altered version: without comments, formatted anew,
     meshes named by their package. The original is part of the Bullet Continuous Collision
     Detection and Physics Library, http://bulletphysics.org, under the zlib licence:

     This software is provided 'as-is', without any express or implied warranty. In no event will
     the authors be held liable for any damages arising from the use of this software. Permission
     is granted to anyone to use this software for any purpose, including commercial applications,
     and to alter it and redistribute it freely, subject to the following restrictions:

     1. The origin of this software must not be misrepresented; you must not claim that you wrote
     the original software. If you use this software in a product, an acknowledgment in the product
     documentation would be appreciated but is not required.
     2. Altered source versions must be plainly marked as such, and must not be misrepresented as
     being the original software.
     3. This notice may not be removed or altered from any source distribution. -->
"""


def original(file: str) -> Path:
    """Return where a file of PyBullet's data lies on this computer; the package is not imported.

    Args:
        file: Its path in ``pybullet_data``.

    Raises:
        ModelError: The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{_PACKAGE} not found: install PyBullet (pip install '.[sim]')")
    return Path(spec.submodule_search_locations[0]) / file


def derive(file: str) -> str:
    """Return the text of the file derived from a URDF of PyBullet's data.

    Args:
        file: Its path in ``pybullet_data``.

    Raises:
        ModelError: PyBullet is not installed.
    """
    source = original(file).read_bytes()
    robot = ET.fromstring(source)
    for mesh in robot.iter("mesh"):
        folder = PurePosixPath(_PACKAGE, file).parent
        mesh.set("filename", f"{PACKAGE_SCHEME}{folder / mesh.attrib['filename']}")
    ET.indent(robot)
    header = _HEADER.format(
        package=_PACKAGE,
        version=importlib.metadata.version("pybullet"),
        file=file,
        digest=hashlib.sha256(source).hexdigest(),
    )
    return header + ET.tostring(robot, encoding="unicode") + "\n"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files of all models; return the exit code."""
    del arguments
    for model in MODELS.values():
        model.urdf_path.write_text(derive(model.file), encoding="utf-8")
        print(model.urdf_path)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
