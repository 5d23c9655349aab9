"""What binds ``mujoco_tick.c`` to a MuJoCo model: the addresses of MuJoCo's own memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.plant.compiled import EngineTick, Motors, Terrain, library

_SOURCE = Path(__file__).with_suffix(".c")


class _Mujoco(ctypes.Structure):
    """``mujoco_t``."""

    _fields_ = (
        ("mj_step", ctypes.c_void_p),
        ("model", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("position", ctypes.c_void_p),
        ("speed", ctypes.c_void_p),
        ("torque_nm", ctypes.c_void_p),
        ("push_n", ctypes.c_void_p),
        ("motors", Motors),
        ("terrain", Terrain),
        ("max_joint_rad_s", ctypes.c_double),
        ("pair_count", ctypes.c_int64),
        ("pairs", ctypes.c_void_p),
        ("geom_m", ctypes.c_void_p),
        ("body_m", ctypes.c_void_p),
        ("pair_friction", ctypes.c_void_p),
        ("friction", ctypes.c_double),
    )


class MujocoTick(EngineTick):
    """The tick of one engine; see :func:`mujoco_tick`."""

    def __init__(self, loaded: ctypes.CDLL, mj_step: int, max_joint_rad_s: float) -> None:
        self._mujoco = _Mujoco(mj_step=mj_step, max_joint_rad_s=max_joint_rad_s)
        super().__init__(loaded, "mujoco", self._mujoco)

    def begin(
        self,
        model: Any,
        data: Any,
        body: int,
        position_at: Sequence[int],
        speed_at: Sequence[int],
        directions: Sequence[float],
    ) -> None:
        """Take a model that was compiled anew, and its state.

        Args:
            model: ``MjModel``.
            data: ``MjData``; must live as long as ticks are run.
            body: The body that is pushed.
            position_at: Where each motor is among the positions.
            speed_at: Where each motor is among the speeds.
            directions: +1 or -1 for each motor.
        """
        state = self._mujoco
        state.model, state.data = model._address, data._address
        state.position, state.speed = data.qpos.ctypes.data, data.qvel.ctypes.data
        state.torque_nm = data.qfrc_applied.ctypes.data
        state.push_n = data.xfrc_applied[body].ctypes.data
        state.motors = Motors(tuple(position_at), tuple(speed_at), tuple(directions))

    def toes_are(self, model: Any, data: Any, pairs: NDArray[np.int64], friction: float) -> None:
        """Take what may slip on patches.

        Args:
            model: ``MjModel``, whose frictions of pairs are set.
            data: ``MjData``.
            pairs: Numbers of pairs, shapes and bodies of the lower legs, shape (N, 3); must live as
                long as ticks are run.
            friction: Coulomb coefficient outside of patches.
        """
        state = self._mujoco
        state.pair_count, state.pairs = len(pairs), pairs.ctypes.data
        state.geom_m, state.body_m = data.geom_xpos.ctypes.data, data.xpos.ctypes.data
        state.pair_friction, state.friction = model.pair_friction.ctypes.data, friction


def mujoco_tick(mujoco: Any, max_joint_rad_s: float) -> MujocoTick | None:
    """Make the tick of an engine; None where nothing can be compiled, or MuJoCo's library hides.

    No joint is faster than ``max_joint_rad_s`` after a step.
    """
    mj_step, loaded = _mj_step(Path(mujoco.__file__).parent), library("mujoco", _SOURCE)
    if loaded is None or mj_step is None:
        return None
    return MujocoTick(loaded, mj_step, max_joint_rad_s)


@functools.cache
def _mj_step(folder: Path) -> int | None:
    """Return the address of ``mj_step`` in the library that the module ``mujoco`` has loaded."""
    for path in sorted((*folder.glob("libmujoco.so*"), *folder.glob("libmujoco*.dylib"))):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).mj_step, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None
