"""The firmware as a shared library: compiled once, cached, and driven through ctypes.

What runs is the very ``firmware_poll`` of a board; only its hardware is memory, which the caller
owns (``ports/posix/port.h``). Needs a C compiler, nothing else.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.c_library import CLibrary
from robot_firmware_bridge.robot import NUM_MOTORS

ROOT = Path(__file__).parent
_FOLDERS = ("core", "hal", "ports/posix")
# For builds that are checked at run time. A user's build must not fail for a new warning of some
# compiler.
_STRICT = (
    *("-Werror", "-Wdouble-promotion", "-Wconversion", "-Wshadow"),
    *("-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
)
# sensors_t is floats throughout; the place of the battery's among them.
_BATTERY = 22
_SENSOR_FLOATS = 31
# drive_t: a bool, padding, floats.
_DRIVE_DUTY = slice(4, 4 + 4 * NUM_MOTORS)
_DRIVE_BYTES = 4 + 4 * NUM_MOTORS
_TRANSMIT_BYTES = 1024
_BOARD_ID_BYTES = 12

Floats = NDArray[np.float32]


class Sensors:
    """What the firmware's sensors read; write into the arrays.

    Attributes:
        motor_position_rad: Motor angles, motor space, shape (8,).
        motor_velocity_rad_s: Motor speeds, shape (8,).
        rpy_rad: Roll, pitch, yaw of the body, shape (3,).
        angular_rate_rad_s: Gyroscope, body frame, shape (3,).
        housing_temperature_c: Measured temperature of each motor's housing, shape (8,); NaN where
            there is no sensor, which is the start value.
        address: Where all of it lies, as the firmware's ``sensors_t``.
    """

    def __init__(self) -> None:
        values: Floats = np.zeros(_SENSOR_FLOATS, np.float32)
        self._values = values
        self.address: Final[int] = values.ctypes.data
        self.motor_position_rad: Final = values[0:8]
        self.motor_velocity_rad_s: Final = values[8:16]
        self.rpy_rad: Final = values[16:19]
        self.angular_rate_rad_s: Final = values[19:22]
        self.housing_temperature_c: Final = values[23:31]
        self.housing_temperature_c[:] = np.nan

    @property
    def battery_v(self) -> float:
        """Battery voltage."""
        return self._values.item(_BATTERY)

    @battery_v.setter
    def battery_v(self, volts: float) -> None:
        self._values[_BATTERY] = volts


class Drive:
    """What the firmware does with the bridges.

    Attributes:
        enabled: False: bridges open, no torque. A duty of 0 would brake.
        duty: PWM duty of each motor in [-1, 1], shape (8,); the next tick overwrites it.
        memory: Both, as the firmware's ``drive_t``.
        address: Where that lies.
    """

    def __init__(self) -> None:
        self.memory: Final = np.zeros(_DRIVE_BYTES, np.uint8)
        self.address: Final[int] = self.memory.ctypes.data
        self.duty: Final = self.memory[_DRIVE_DUTY].view(np.float32)
        self.enabled = False


class FirmwareBoard:
    """A board that runs the firmware. One per process: its memory is the library's.

    Args:
        library: What :func:`build_library` made; built with the defaults if left out.

    Raises:
        CompileError: There is no library and none can be built.
    """

    def __init__(self, library: Path | None = None) -> None:
        self._library = load(library or build_library())
        self._out = (ctypes.c_uint8 * _TRANSMIT_BYTES)()
        self._drive = Drive()

    def start(self, boot_count: int, baud: int = 921600, board_id: bytes = b"emulated") -> None:
        """Power on, or reset: no state is kept.

        Args:
            boot_count: As the board would count its starts.
            baud: Speed of the host's line, which bounds the rate of states.
            board_id: What the board identifies itself with; 12 bytes count.
        """
        name = board_id[:_BOARD_ID_BYTES].ljust(_BOARD_ID_BYTES, b"\0")
        self._library.port_start(boot_count & 0xFFFF, baud, name)

    def receive(self, data: bytes) -> None:
        """Pass bytes that arrived on the host's line to the next tick.

        The firmware takes 256 of them per tick, more than the fastest line brings; what exceeds
        its buffer of 4096 is lost, as in a UART.
        """
        self._library.port_receive(data, len(data))

    def tick(self, t_us: int, sensors: Sensors) -> Drive:
        """Run one millisecond of the firmware.

        Args:
            t_us: Time of the board's clock, microseconds; wraps at 32 bits.
            sensors: What the sensors read now.

        Returns:
            What the bridges do until the next tick; the object is the same every time.
        """
        drive = self._drive
        self._library.port_tick(t_us & 0xFFFFFFFF, sensors.address, drive.address)
        drive.enabled = drive.memory[0] != 0
        return drive

    def transmit(self) -> bytes:
        """Return what the firmware has sent to the host since the last call."""
        size = self._library.port_transmit(self._out, _TRANSMIT_BYTES)
        return ctypes.string_at(self._out, size)


@functools.cache
def load(library: Path) -> ctypes.CDLL:
    """Load a built library; declare the signatures of ``port.h`` and ``probe.h``."""
    loaded = ctypes.CDLL(str(library))
    data, size, number = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32
    memory = ctypes.c_void_p
    signatures = {
        "port_start": (None, (ctypes.c_uint16, number, data)),
        "port_receive": (None, (data, size)),
        "port_tick": (None, (number, memory, memory)),
        "port_transmit": (size, (memory, size)),
        "probe_decoder_start": (None, ()),
        "probe_decoder_feed": (size, (data, size, memory, size)),
        "probe_decoder_counters": (None, (memory,)),
        "probe_encode": (size, (ctypes.c_uint8, data, memory)),
        "probe_repack": (ctypes.c_int, (ctypes.c_uint8, data, memory)),
        "probe_drive_law": (None, (memory, memory, memory)),
        "probe_thermal": (None, (memory, memory, number, memory)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def build_library(*, sanitize: str = "", coverage: bool = False) -> Path:
    """Compile the firmware into the cache of this user, unless it is there already.

    Args:
        sanitize: What to check at run time, e.g. "undefined" or "address,undefined"; such a build
            also treats every warning as an error.
        coverage: Count executions of lines, for gcov; its notes lie beside the library.

    Returns:
        Path of the shared library.

    Raises:
        CompileError: No compiler, it fails, or there is no folder to write to.
    """
    flags: list[str] = []
    if sanitize:
        flags += [*_STRICT, f"-fsanitize={sanitize}"]
    if coverage:
        flags += ["--coverage", "-O0"]
    return _firmware().build(flags)


def sources_digest() -> str:
    """Return a digest of the firmware's sources, hexadecimal, in whatever folder they are."""
    return _firmware().digest()


def _firmware() -> CLibrary:
    folders = tuple(ROOT / folder for folder in _FOLDERS)
    sources = sorted(path for folder in folders for path in folder.glob("*.c"))
    return CLibrary("firmware", "the emulated motor controller", tuple(sources), folders)
