"""The tick of the plant in C: built when it is first needed, cached, and driven through ctypes.

``tick.c`` does what ``Plant._tick`` does, and an engine's own C file what its ``step`` and
``measure`` do, so that Python runs once per control step instead of once per millisecond. Where
there is no C compiler the plant runs in Python, to the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.c_library import CLibrary
from robot_firmware_bridge.errors import CompileError
from robot_firmware_bridge.firmware.library import ROOT as FIRMWARE
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.plant.drives import Actuators
from sim.plant.history import History
from sim.plant.params import PlantParams
from sim.plant.terrain import MOST_PATCHES, PATCH_HALF_M, Patches

Array = NDArray[np.float64]

_HERE = Path(__file__).parent
_CURVE_POINTS = 16
_Eight = ctypes.c_double * NUM_MOTORS

_logger = logging.getLogger(__name__)


@functools.cache
def library(name: str, source: Path, linked: tuple[Path, ...] = ()) -> ctypes.CDLL | None:
    """Return the tick with an engine's own C file, loaded; None where nothing can be compiled.

    Args:
        name: Of the engine.
        source: Its C file.
        linked: Libraries that it needs.
    """
    sources = (_HERE / "tick.c", source)
    made_of = CLibrary(f"{name}-tick", "the tick", sources, (_HERE, FIRMWARE / "core"), linked)
    try:
        loaded = ctypes.CDLL(str(made_of.build()))
    except (CompileError, OSError) as error:
        _logger.info("the plant runs in Python, which is slower: %s", error)
        return None
    state, count, numbers = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
    loaded.plant_advance.argtypes = (state, count, numbers)
    loaded.plant_drive.argtypes = (state, numbers, numbers)
    loaded.plant_advance.restype = loaded.plant_drive.restype = count
    return loaded


class _Row(ctypes.Structure):
    _fields_ = (
        ("position_rad", _Eight),
        ("velocity_rad_s", _Eight),
        ("torque_nm", _Eight),
        ("base", ctypes.c_double * 13),
        ("battery_v", ctypes.c_double),
        ("reading_rad", _Eight),
    )


class Motors(ctypes.Structure):
    """``motors_t``: where an engine has the motors, and which way they turn."""

    _fields_ = (
        ("position_at", ctypes.c_int64 * NUM_MOTORS),
        ("speed_at", ctypes.c_int64 * NUM_MOTORS),
        ("direction", _Eight),
    )


class Terrain(ctypes.Structure):
    """``terrain_t``: what lies about the robot."""

    _fields_ = (
        ("middle_m", ctypes.c_double * 2),
        ("reach_m", ctypes.c_double),
        ("heading", ctypes.c_double * 2),
        ("half_m", ctypes.c_double),
        ("scale", ctypes.c_double),
        ("patch_count", ctypes.c_int64),
        ("patch_m", (ctypes.c_double * 2) * MOST_PATCHES),
    )


class _EngineFunctions(ctypes.Structure):
    _fields_ = (
        ("step", ctypes.c_void_p),
        ("measure", ctypes.c_void_p),
        ("engine", ctypes.c_void_p),
    )


class _Drives(ctypes.Structure):
    _fields_ = (
        ("pd_latency_s", ctypes.c_double),
        ("encoder_offset_rad", _Eight),
        ("encoder_play_rad", ctypes.c_double),
        ("strength", _Eight),
        *(
            (name, ctypes.c_double)
            for name in (
                "battery_v",
                "battery_resistance_ohm",
                "winding_resistance_ohm",
                "torque_constant_nm_per_a",
                "viscous_nm_s_per_rad",
                "voltage_clip_v",
                "overheat_torque_nm",
                "overheat_time_s",
            )
        ),
        ("curve_a", ctypes.c_double * _CURVE_POINTS),
        ("curve_nm", ctypes.c_double * _CURVE_POINTS),
        ("curve_points", ctypes.c_int64),
    )


class _PlantState(ctypes.Structure):
    _fields_ = (
        ("engine", _EngineFunctions),
        ("drives", _Drives),
        ("target_rad", _Eight),
        ("kp", ctypes.c_double),
        ("kd", ctypes.c_double),
        ("row", _Row),
        ("hot_s", _Eight),
        ("enabled", ctypes.c_uint8 * NUM_MOTORS),
        ("heat_j", _Eight),
        ("energy_j", ctypes.c_double),
        ("history", ctypes.c_void_p),
        ("length", ctypes.c_int64),
        ("newest", ctypes.c_int64),
        ("count", ctypes.c_int64),
    )


class EngineTick:
    """An engine's part of the tick.

    Attributes:
        library: From :func:`library`.
        functions: What it does.
    """

    def __init__(self, library: ctypes.CDLL, name: str, engine: ctypes.Structure) -> None:
        self.library = library
        self._engine = engine  # kept alive
        _require_alike(library, name, engine)
        _require_alike(library, "plant", _PlantState())
        self._terrain: Terrain = engine.terrain
        step, measure = (getattr(library, f"{name}_{each}") for each in ("step", "measure"))
        self.functions = _EngineFunctions(
            ctypes.cast(step, ctypes.c_void_p),
            ctypes.cast(measure, ctypes.c_void_p),
            ctypes.addressof(engine),
        )

    def terrain_is_at(self, x_m: float, y_m: float, reach_m: float, patches: Patches) -> None:
        """Tell where the middle of the ground is, how far along x and y it goes, and its patches.

        Args:
            x_m: Of the middle.
            y_m: Of the middle.
            reach_m: How far from it the robot may be before Python lays the ground anew.
            patches: Those that were laid last.
        """
        to = self._terrain
        to.middle_m[:], to.reach_m = (x_m, y_m), reach_m
        to.heading[:], to.half_m, to.scale = patches.heading, PATCH_HALF_M, patches.scale
        to.patch_count = len(patches.middles_m)
        for number, middle in enumerate(patches.middles_m):
            to.patch_m[number][:] = middle


def _require_alike(library: ctypes.CDLL, name: str, declared: ctypes.Structure) -> None:
    """Refuse a structure that C declares with another size: it would write where it must not."""
    size = getattr(library, f"{name}_bytes")
    size.restype = ctypes.c_int64
    if size() != ctypes.sizeof(declared):
        raise AssertionError(f"{name}_t: {size()} bytes in C, {ctypes.sizeof(declared)} in Python")


class CompiledTick:
    """The state of a plant where C can see it, and the tick.

    Args:
        tick: The engine's part.
        history: That of the plant.

    Attributes:
        row: The newest row, shape (46,).
        hot_s: How long each motor has been overloaded, shape (8,).
        enabled: Whether each motor is on, shape (8,).
        heat_j: Heat of each winding, shape (8,).
    """

    def __init__(self, tick: EngineTick, history: History) -> None:
        self._tick, self._history = tick, history
        self._state = state = _PlantState()
        self._address = ctypes.addressof(state)
        state.engine = tick.functions
        state.history, state.length = history.rows.ctypes.data, len(history.rows) // 2
        self.row = np.frombuffer(state.row)
        self.hot_s = np.frombuffer(state.hot_s)
        self.enabled = np.frombuffer(state.enabled, dtype=np.bool_)
        self.heat_j = np.frombuffer(state.heat_j)
        self._target = np.frombuffer(state.target_rad)

    @property
    def energy_j(self) -> float:
        """What the motors have taken."""
        return float(self._state.energy_j)

    @energy_j.setter
    def energy_j(self, energy_j: float) -> None:
        self._state.energy_j = energy_j

    def begin(self, params: PlantParams, drives: Actuators) -> None:
        """Take the parameters of an episode."""
        to, motor = self._state.drives, drives.motor
        for name in (
            "pd_latency_s",
            "encoder_play_rad",
            "battery_v",
            "battery_resistance_ohm",
            "winding_resistance_ohm",
            "torque_constant_nm_per_a",
        ):
            setattr(to, name, getattr(params, name))
        to.encoder_offset_rad[:] = params.encoder_offset_rad
        to.viscous_nm_s_per_rad = params.motor_viscous_nm_s_per_rad
        to.strength[:] = drives.strength.tolist()
        for name in ("voltage_clip_v", "overheat_torque_nm", "overheat_time_s"):
            setattr(to, name, getattr(motor, name))
        to.curve_points = len(motor.current_table_a)
        to.curve_a[: to.curve_points] = motor.current_table_a
        to.curve_nm[: to.curve_points] = motor.torque_table_nm

    def advance(
        self, ticks: int, target_rad: Array, kp: float, kd: float, push_n: Array | None
    ) -> int:
        """Let ticks pass as ``Plant.advance`` does; return how many did.

        Args:
            ticks: How many.
            target_rad: Shape (8,).
            kp: Proportional gain.
            kd: Derivative gain; both 0 open the bridges.
            push_n: Forces on the body, shape (ticks, 3), NaN for none; None without any.
        """
        state = self._state
        self._target[:] = target_rad
        state.kp, state.kd = kp, kd
        return self._run(self._tick.library.plant_advance, ticks, push_n)

    def drive(self, duty: Array | None, push_n: Array | None) -> int:
        """Let a tick pass under duties, shape (8,), None for open bridges; return how many did."""
        return self._run(self._tick.library.plant_drive, _address(duty), push_n)

    def _run(self, function: Callable[..., int], what: int | None, push_n: Array | None) -> int:
        state, history = self._state, self._history
        state.newest, state.count = history.newest, history.count
        done = function(self._address, what, _address(push_n))
        history.newest, history.count = state.newest, state.count
        return done


def _address(numbers: Array | None) -> int | None:
    return None if numbers is None else numbers.ctypes.data
