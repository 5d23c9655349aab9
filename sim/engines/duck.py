"""A rubber duck on the robot's back, as in the duck environment of ``pybullet_envs``.

It is a free body that lies there by friction alone. Weight, scale and friction are those of
``duck_vhacd.urdf``; its inertia is Bullet's own, of its shape, as it is in that environment: the
file's 1 kg m^2 belongs to something else than a duck of 0.1 kg.
"""

from __future__ import annotations

import os

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from sim.engines.bullet import BulletEngine, bullet
from sim.plant.params import PlantParams
from sim.plant.plant import VisiblePlant
from sim.view.scene import Scene

Array = NDArray[np.float64]

_URDF, _MESH = "duck_vhacd.urdf", "duck_vhacd.obj"
_MASS_KG, _MESH_SCALE, _FRICTION = 0.1, 0.05, 1.0
_CENTRE_M = (0.0, 0.02, 0.0)  # of mass, in the mesh's frame, whose y points up
_UPRIGHT = (0.5, 0.5, 0.5, 0.5)
# The original seats it over the body's origin; on the identified robot a box is in the way there.
_SEAT_X_M = -0.05
_HIGH_M = 2.0


class DuckEngine(BulletEngine):
    """The robot in Bullet with the duck on its back.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
    """

    def __init__(self, model: str) -> None:
        super().__init__(model, merged=True)

    def reset(self, params: PlantParams) -> None:
        """Build the world anew and seat the duck on the standing robot."""
        super().reset(params)
        client = self._client
        back_m = bullet.rayTest(
            (_SEAT_X_M, 0.0, _HIGH_M), (_SEAT_X_M, 0.0, 0.0), physicsClientId=client
        )[0][3][2]
        shape = bullet.createCollisionShape(
            bullet.GEOM_MESH,
            fileName=os.path.join(pybullet_data.getDataPath(), _MESH),
            meshScale=(_MESH_SCALE,) * 3,
            physicsClientId=client,
        )
        self._duck = int(
            bullet.createMultiBody(
                _MASS_KG,
                shape,
                basePosition=(_SEAT_X_M, 0.0, _HIGH_M),
                baseOrientation=_UPRIGHT,
                baseInertialFramePosition=_CENTRE_M,
                physicsClientId=client,
            )
        )
        bullet.changeDynamics(
            self._duck,
            -1,
            lateralFriction=_FRICTION,
            linearDamping=0.0,
            angularDamping=0.0,
            physicsClientId=client,
        )
        lowest_m = bullet.getAABB(self._duck, -1, client)[0][2]
        centre, quaternion = self.duck_pose()
        centre[2] -= lowest_m - back_m
        bullet.resetBasePositionAndOrientation(
            self._duck, centre.tolist(), quaternion.tolist(), physicsClientId=client
        )

    def duck_pose(self) -> tuple[Array, Array]:
        """Where the duck's centre of mass is, (3,), and how it is turned, (x, y, z, w), (4,)."""
        centre, quaternion = bullet.getBasePositionAndOrientation(self._duck, self._client)
        return np.array(centre), np.array(quaternion)

    def duck_lost(self) -> bool:
        """Whether the duck touches the floor, the original's criterion."""
        client = self._client
        return bool(bullet.getContactPoints(self._duck, self._floor, physicsClientId=client))


class DuckPlant(VisiblePlant):
    """The plant on PyBullet, with a duck on the robot's back.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        gui: Open a window that shows robot and duck as they move.
    """

    def __init__(self, model: str = "minitaur_rainbow_dash", gui: bool = False) -> None:
        self._carrying = DuckEngine(model)
        super().__init__(self._carrying, model, gui)

    @property
    def load_lost(self) -> bool:
        """Whether the duck touches the floor."""
        return self._carrying.duck_lost()

    def load_pose(self) -> tuple[Array, Array]:
        """Where the duck's centre of mass is, (3,), and how it is turned, (x, y, z, w), (4,)."""
        return self._carrying.duck_pose()

    def _pose(self, scene: Scene) -> None:
        super()._pose(scene)
        scene.show_load(_URDF, *self._carrying.duck_pose())
