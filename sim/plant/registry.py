"""Plants by the names that a command line takes: one robot, several engines and drives.

The only module of ``sim.plant`` that knows engines. It imports one when a plant of it is made.
"""

from __future__ import annotations

import importlib.util
import sys

from robot_firmware_bridge.command_line import cure
from sim.errors import ParameterError, SimError
from sim.model.minitaur import DEFAULT_MODEL
from sim.plant.drives import Actuators, IdealActuators
from sim.plant.plant import Engine, Plant

PLANTS = (
    "pybullet",
    "mujoco",
    "pybullet-ideal",  # ideal motors
    "pybullet-full",  # every link and shape of the file, and shapes that touch each other
    "pybullet-stock",  # the same with the contact of the published environment
    "pybullet-duck",  # a rubber duck on the robot's back
)
_ENGINES = ("pybullet", "mujoco")


def lacking() -> str | None:
    """Return why no simulated robot can run here, and the cure; None if one can."""
    if any(map(_installed, _ENGINES)):
        return None
    return "no physics engine is installed: pip install '.[sim]'"


def default_plant() -> str:
    """Return the plant to take where none is asked for: PyBullet's or, without it, MuJoCo's.

    The second choice is told on stderr.

    Raises:
        SimError: Neither engine is installed.
    """
    if (reason := lacking()) is not None:
        raise SimError(reason)
    if _installed("pybullet"):
        return "pybullet"
    print(f"MuJoCo simulates; PyBullet is not here: {cure('pybullet')}", file=sys.stderr)
    return "mujoco"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def make_plant(name: str | None = None, model: str = DEFAULT_MODEL, *, gui: bool = False) -> Plant:
    """Make a plant, standing.

    Args:
        name: A name in ``PLANTS``; left out, that of :func:`default_plant`.
        model: A name in ``sim.model.minitaur.MODELS``.
        gui: Open a window that shows the robot as it moves.

    Raises:
        SimError: The physics engine is not installed, or plant or model are unknown.
    """
    name = name or default_plant()
    if name not in PLANTS:
        raise ParameterError(f"unknown plant {name!r}; known: {', '.join(PLANTS)}")
    if name != "mujoco" and not _installed("pybullet"):
        raise SimError(
            f"the plant {name} needs PyBullet: {cure('pybullet')}; --plant mujoco does without"
        )
    engine: Engine
    if name == "mujoco":
        from sim.engines.mujoco import MujocoEngine

        engine = MujocoEngine(model)
    elif name == "pybullet-duck":
        from sim.engines.duck import DuckEngine

        engine = DuckEngine(model)
    else:
        from sim.engines.bullet import BulletEngine

        full, stock = name in ("pybullet-full", "pybullet-stock"), name == "pybullet-stock"
        engine = BulletEngine(model, merged=not full, self_collision=full, stock_contact=stock)
    from sim.view.viewer import PlantViewer

    drives = IdealActuators() if name == "pybullet-ideal" else Actuators()
    return Plant(engine, drives, PlantViewer(model, gui))
