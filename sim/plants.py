"""The plants by name: what ``--plant`` means, and the one place to add another.

A plant's module is imported when it is asked for, so that nobody needs an engine they do not use.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.errors import SimError
from sim.plant import VisiblePlant


def _pybullet(model: str, gui: bool) -> VisiblePlant:
    from sim.plant import BulletPlant

    return BulletPlant(model, gui=gui)


def _pybullet_full(model: str, gui: bool) -> VisiblePlant:
    """Every link and every shape of the file, and shapes that touch each other."""
    from sim.bullet import BulletEngine

    return VisiblePlant(BulletEngine(model, merged=False, self_collision=True), model, gui)


def _pybullet_stock(model: str, gui: bool) -> VisiblePlant:
    """The full model with the contact settings of the published environment."""
    from sim.bullet import BulletEngine

    engine = BulletEngine(model, merged=False, self_collision=True, stock_contact=True)
    return VisiblePlant(engine, model, gui)


PLANTS: dict[str, Callable[[str, bool], VisiblePlant]] = {
    "pybullet": _pybullet,
    "pybullet-full": _pybullet_full,
    "pybullet-stock": _pybullet_stock,
}


def make_plant(name: str, model: str, *, gui: bool = False) -> VisiblePlant:
    """A plant by its name in ``PLANTS``.

    Raises:
        SimError: No such plant.
    """
    if name not in PLANTS:
        raise SimError(f"unknown plant {name!r}; known: {', '.join(PLANTS)}")
    return PLANTS[name](model, gui)
