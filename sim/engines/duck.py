"""A rubber duck on the robot's back, as in the duck environment of ``pybullet_envs``.

It is a free body that lies there by friction alone. Weight, scale and friction are those of
``duck_vhacd.urdf``; its inertia is Bullet's own, of its shape, as it is in that environment: the
file's 1 kg m^2 belongs to something else than a duck of 0.1 kg.
"""

from __future__ import annotations

import os

import numpy as np
import pybullet_data

from robot_firmware_bridge.geometry import quaternion_from_rpy, quaternion_product, turned
from sim.engines.bullet import BulletEngine, bullet
from sim.plant.params import PlantParams
from sim.plant.plant import Load

_URDF, _MESH = "duck_vhacd.urdf", "duck_vhacd.obj"
_MASS_KG, _MESH_SCALE, _FRICTION = 0.1, 0.05, 1.0
_CENTRE_M = (0.0, 0.02, 0.0)  # of mass, in the mesh's frame, whose y points up
_UPRIGHT = (0.5, 0.5, 0.5, 0.5)
# The original seats it over the body's origin; on the identified robot a box is in the way there.
_SEAT_X_M = -0.05
_HIGH_M = 2.0


class DuckEngine(BulletEngine):
    """The robot in Bullet with the duck on its back."""

    def reset(self, params: PlantParams) -> None:
        """Build the world anew and seat the duck on the standing robot."""
        super().reset(params)
        world = self._world
        turn = quaternion_from_rpy(np.array((0.0, 0.0, params.start_heading_rad)))
        x_m, y_m, _ = turned(turn, np.array((_SEAT_X_M, 0.0, 0.0))).tolist()
        back_m = world.rayTest((x_m, y_m, _HIGH_M), (x_m, y_m, 0.0))[0][3][2]
        shape = world.createCollisionShape(
            bullet.GEOM_MESH,
            fileName=os.path.join(pybullet_data.getDataPath(), _MESH),
            meshScale=(_MESH_SCALE,) * 3,
        )
        self._duck = world.createMultiBody(
            _MASS_KG,
            shape,
            basePosition=(x_m, y_m, _HIGH_M),
            baseOrientation=quaternion_product(turn, np.array(_UPRIGHT)).tolist(),
            baseInertialFramePosition=_CENTRE_M,
        )
        world.changeDynamics(
            self._duck, -1, lateralFriction=_FRICTION, linearDamping=0.0, angularDamping=0.0
        )
        lowest_m = world.getAABB(self._duck, -1)[0][2]
        centre, quaternion = world.getBasePositionAndOrientation(self._duck)
        seated = (*centre[:2], centre[2] - (lowest_m - back_m))
        world.resetBasePositionAndOrientation(self._duck, seated, quaternion)

    @property
    def load(self) -> Load:
        """The duck; it is lost when it touches the floor, as in the original environment."""
        world = self._world
        centre, quaternion = world.getBasePositionAndOrientation(self._duck)
        lost = bool(world.getContactPoints(self._duck, self._floor))
        return Load(_URDF, np.array(centre), np.array(quaternion), lost)
