"""PyBullet's two habits tamed: what it prints when imported, and that it reads URDFs from files."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from typing import Any


def import_pybullet() -> Any:
    """The ``pybullet`` module.

    Its build time goes to the process's standard error from C, in every worker process, where it
    would stand between a program's own lines; so that descriptor points elsewhere for the moment.
    """
    if "pybullet" in sys.modules:
        return sys.modules["pybullet"]
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        return importlib.import_module("pybullet")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def load_urdf_text(
    text: str, client: int, position_m: tuple[float, float, float], self_collision: bool = False
) -> int:
    """Load a URDF that is a text, with its inertias, and return Bullet's number of the body.

    The file in between is gone before anyone can see it. Bullet remembers a file's text by its
    name, and a scratch name may come again, so that memory is switched off.
    """
    bullet = import_pybullet()
    bullet.setPhysicsEngineParameter(enableFileCaching=0, physicsClientId=client)
    handle, path = tempfile.mkstemp(suffix=".urdf")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        flags = bullet.URDF_USE_INERTIA_FROM_FILE
        if self_collision:
            flags |= bullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
        return int(bullet.loadURDF(path, position_m, flags=flags, physicsClientId=client))
    finally:
        os.unlink(path)
