"""The plants by the names that a command line takes: one robot, one set of drives, many physics."""

from __future__ import annotations

from typing import Protocol

from sim.mujoco_plant import MujocoPlant
from sim.plant import BulletPlant, VisiblePlant


class PlantMaker(Protocol):
    """Makes a plant, standing."""

    def __call__(self, model: str = ..., *, gui: bool = ...) -> VisiblePlant:
        """Make a plant of a model in ``sim.minitaur.MODELS``, with a window if ``gui``.

        Raises:
            SimError: The physics engine is not installed, or the model is unknown.
        """


PLANTS: dict[str, PlantMaker] = {"pybullet": BulletPlant, "mujoco": MujocoPlant}
