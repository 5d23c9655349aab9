"""What binds ``bullet_tick.c`` to a Bullet world: it is a plugin of Bullet's."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.engines.floor_friction import DAMPING_N_S_PER_M, STIFFNESS_N_PER_M
from sim.plant.compiled import EngineTick, Motors, Terrain, library

_SOURCE = Path(__file__).with_suffix(".c")
# The version of Bullet's C interface that the C file is written for, ``BULLET_API``.
_API = 202010061
_MOST_LINKS = 128
_PRESSED_NUMBERS = 17


class _Bullet(ctypes.Structure):
    """``bullet_t``."""

    _fields_ = (
        ("client", ctypes.c_void_p),
        ("body", ctypes.c_int64),
        ("ground", ctypes.c_int64 * 2),
        ("motors", Motors),
        ("com_m", ctypes.c_double * 3),
        ("link_turn", ctypes.c_double * 4),
        ("has_friction", ctypes.c_int64),
        ("friction", ctypes.c_double),
        ("stiffness_n_per_m", ctypes.c_double),
        ("damping_n_s_per_m", ctypes.c_double),
        ("moved", ctypes.c_int64),
        ("terrain", Terrain),
        ("is_known", ctypes.c_int64),
        ("base", ctypes.c_double * 9),
        ("pressed_count", ctypes.c_int64),
        ("pressed", ctypes.c_double * (_PRESSED_NUMBERS * (_MOST_LINKS + 1))),
        ("held_m", ctypes.c_double * (3 * (_MOST_LINKS + 1))),
    )


class BulletTick(EngineTick):
    """The tick of one world; see :func:`bullet_tick`.

    Attributes:
        works: Whether Bullet has taken the plugin.
    """

    def __init__(self, loaded: ctypes.CDLL, bullet: Any, client: int) -> None:
        self._bullet = _Bullet(
            stiffness_n_per_m=STIFFNESS_N_PER_M,
            damping_n_s_per_m=DAMPING_N_S_PER_M,
        )
        super().__init__(loaded, "bullet", self._bullet)
        self._address = ctypes.c_void_p(ctypes.addressof(self._bullet))
        # The same file for Bullet as for Python: it is loaded once.
        plugin = bullet.loadPlugin(loaded._name, "_minitaur", physicsClientId=client)
        text = hex(ctypes.addressof(self._bullet))
        self.works = plugin >= 0 and (
            bullet.executePluginCommand(plugin, text, physicsClientId=client) == 0
        )

    def begin(
        self,
        body: int,
        ground: range,
        joints: Sequence[tuple[Any, ...]],
        directions: Sequence[float],
        com_m: Sequence[float],
        link_turn: Sequence[float],
        friction: float | None,
    ) -> None:
        """Take a world that was built anew.

        Args:
            body: Bullet's number of the robot.
            ground: Bullet's numbers of what the ground is made of.
            joints: What Bullet says of the eight motors.
            directions: +1 or -1 for each motor.
            com_m: Centre of mass of the body's link.
            link_turn: Axes of the body's link in Bullet's frame of the base, as a quaternion.
            friction: Coulomb coefficient outside of patches; None where Bullet's own friction acts.
        """
        state = self._bullet
        state.body = body
        state.ground[:] = (ground.start, ground.stop)
        positions, speeds = zip(*((joint[3], joint[4]) for joint in joints), strict=True)
        state.motors = Motors(positions, speeds, tuple(directions))
        state.com_m[:], state.link_turn[:] = com_m, link_turn
        state.has_friction, state.friction = friction is not None, friction or 0.0
        self.library.bullet_begin(self._address, 0)

    def moved(self) -> None:
        """Forget the contacts: the robot has been put somewhere else."""
        self.library.bullet_begin(self._address, 1)

    def close(self) -> None:
        """Touch the world no more: it is gone."""
        self._bullet.client = None


def bullet_tick(bullet: Any, client: int) -> BulletTick | None:
    """Make the tick of a world; None where nothing can be compiled, or Bullet is another version.

    Args:
        bullet: The module ``pybullet``.
        client: Bullet's number of the world.
    """
    if bullet.getAPIVersion() != _API:
        return None
    loaded = library("bullet", _SOURCE, (Path(bullet.__file__),))
    if loaded is None:
        return None
    tick = BulletTick(loaded, bullet, client)
    return tick if tick.works else None
