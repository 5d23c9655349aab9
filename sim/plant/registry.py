"""The plants by the names that a command line takes: one robot, one set of drives, many physics."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from sim.engines.bullet import BulletEngine
from sim.engines.duck import DuckPlant
from sim.engines.mujoco import MujocoPlant
from sim.plant.ideal_plant import IdealBulletPlant
from sim.plant.plant import BulletPlant, VisiblePlant


class PlantMaker(Protocol):
    """Makes a plant, standing."""

    def __call__(self, model: str = ..., *, gui: bool = ...) -> VisiblePlant:
        """Make a plant of a model in ``sim.model.minitaur.MODELS``, with a window if ``gui``.

        Raises:
            SimError: The physics engine is not installed, or the model is unknown.
        """


def _full(
    model: str = "minitaur_rainbow_dash", *, gui: bool = False, stock_contact: bool
) -> VisiblePlant:
    """PyBullet with every link and every shape of the file, and shapes that touch each other.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        gui: Open a window that shows the robot as it moves.
        stock_contact: Contact as in the published environment, see ``BulletEngine``.
    """
    engine = BulletEngine(model, merged=False, self_collision=True, stock_contact=stock_contact)
    return VisiblePlant(engine, model, gui)


PLANTS: dict[str, PlantMaker] = {
    "pybullet": BulletPlant,
    "mujoco": MujocoPlant,
    "pybullet-ideal": IdealBulletPlant,
    "pybullet-full": partial(_full, stock_contact=False),
    "pybullet-stock": partial(_full, stock_contact=True),
    "pybullet-duck": DuckPlant,
}
