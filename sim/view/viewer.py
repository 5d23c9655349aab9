"""What a plant looks like while it lives: in a window, and as pictures.

Every plant has a viewer, whatever its engine. Drawing needs PyBullet.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.plant.plant import Plant

if TYPE_CHECKING:
    from sim.view.scene import Scene

# Plant time between two pictures in a window.
_FRAME_NS = 40_000_000


class PlantViewer:
    """Draws a plant, in a window and as pictures.

    Each has a scene of its own, so that looking at a run does not change it.

    Args:
        model: The robot to draw, a name in ``sim.model.minitaur.MODELS``.
        gui: Open a window that shows the robot as it moves.
    """

    def __init__(self, model: str, gui: bool) -> None:
        self._model = model
        self._scene: Scene | None = None
        self._window = _scene(model, gui=True) if gui else None
        self._shown_ns = -_FRAME_NS
        self._frame_due_s = 0.0

    def follow(self, plant: Plant) -> None:
        """Show the plant in the window, no faster than real time; without a window, do nothing."""
        if self._window is None or 0 <= plant.t_ns - self._shown_ns < _FRAME_NS:
            return
        _pose(self._window, plant)
        time.sleep(max(0.0, self._frame_due_s - time.monotonic()))
        self._shown_ns = plant.t_ns
        self._frame_due_s = time.monotonic() + _FRAME_NS * 1e-9

    def camera(self, plant: Plant, width: int, height: int) -> NDArray[np.uint8]:
        """Return a picture from a camera that follows the robot, shape (height, width, 3)."""
        if self._scene is None:
            self._scene = _scene(self._model)
        _pose(self._scene, plant)
        return self._scene.camera(width, height)

    def close(self) -> None:
        """Release the scene and the window. Idempotent."""
        for scene in (self._scene, self._window):
            if scene is not None:
                scene.close()
        self._scene = self._window = None


def _scene(model: str, gui: bool = False) -> Scene:
    """Return a new scene; only here its module is imported, which needs PyBullet."""
    from sim.view.scene import Scene

    return Scene(model, gui)


def _pose(scene: Scene, plant: Plant) -> None:
    truth = plant.truth()
    scene.show(truth.position_m, truth.quaternion, plant.engine.joint_positions())
    scene.show_ground(plant.params)
    if (load := plant.engine.load) is not None:
        scene.show_load(load)
