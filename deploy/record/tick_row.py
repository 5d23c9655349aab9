"""One tick of a run as a row of bytes, which is also a protobuf message.

All fields of a tick have a fixed size. So the message, tags and lengths included, has every value
at a fixed place, and NumPy writes a tick into it as into any structured array. Nothing encodes a
tick: the recorder's row in memory, the row in the black box's ring and the message in the file are
the same bytes. Any protobuf decoder reads them by :func:`TickRow.schema`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2
from numpy.typing import NDArray

from deploy.loop.modes import LoopMode
from deploy.policy.velocity_command import VELOCITY_SIZE
from deploy.steering import STAND
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.robot import NUM_MOTORS

SCHEMA_NAME = "minitaur.Tick"

# Widths that the policy decides; 0 is a scalar.
_OBSERVATION, _ACTION = -1, -2
# Name, type and width, in the order of the message. A new field goes to the end: its number is its
# place. All but ``tick``, which counts the ticks of a run, are fields of a flight log.
_FIELDS: tuple[tuple[str, str, int], ...] = (
    ("tick", "<u4", 0),
    ("mode", "i1", 0),
    ("deadline_ns", "<i8", 0),
    ("woke_ns", "<i8", 0),
    ("compute_ns", "<i8", 0),
    ("policy_t_s", "<f8", 0),
    ("state_t_ns", "<i8", 0),
    ("motor_position_rad", "<f8", NUM_MOTORS),
    ("motor_velocity_rad_s", "<f8", NUM_MOTORS),
    ("motor_torque_nm", "<f8", NUM_MOTORS),
    ("winding_temperature_c", "<f8", NUM_MOTORS),
    ("rpy_rad", "<f8", 3),
    ("angular_rate_rad_s", "<f8", 3),
    ("battery_v", "<f8", 0),
    ("observation", "<f4", _OBSERVATION),
    ("action", "<f4", _ACTION),
    ("target_rad", "<f8", NUM_MOTORS),
    ("kp", "<f8", 0),
    ("kd", "<f8", 0),
    ("base_position_m", "<f8", 3),
    ("velocity_command", "<f8", VELOCITY_SIZE),
    ("controller_target_rad", "<f8", NUM_MOTORS),
    ("robot_mode", "i1", 0),
    ("robot_fault", "<u4", 0),
    ("policy", "<i4", 0),
)
# What an integer that was not noted is, where 0 means something.
_NONE = {"policy": STAND}
_ENUMS: dict[str, type[enum.IntEnum]] = {"mode": LoopMode, "robot_mode": Mode}

_Proto = descriptor_pb2.FieldDescriptorProto
# Type of protobuf and its wire type. An enumeration below 128 is a varint of one byte.
_WIRE = {
    "i1": (_Proto.TYPE_ENUM, 0),
    "<u4": (_Proto.TYPE_FIXED32, 5),
    "<i4": (_Proto.TYPE_SFIXED32, 5),
    "<i8": (_Proto.TYPE_SFIXED64, 1),
    "<f8": (_Proto.TYPE_DOUBLE, 1),
    "<f4": (_Proto.TYPE_FLOAT, 5),
}
_PACKED = 2


@dataclass(frozen=True, slots=True)
class TickRow:
    """Where the values of a tick are in its row.

    Attributes:
        observation_size: Length of an observation.
        action_size: Length of an action.
        dtype: The fields, at their places in the row.
        blank: A row in which every float is NaN, and every integer 0 but the policy, which is none;
            shape (bytes,), uint8.
    """

    observation_size: int
    action_size: int
    dtype: np.dtype[np.void]
    blank: NDArray[np.uint8]

    @staticmethod
    def of(observation_size: int, action_size: int) -> TickRow:
        """Lay out the ticks of a policy with such an input and output."""
        widths = {_OBSERVATION: observation_size, _ACTION: action_size}
        names, formats, offsets = [], [], []
        blank = bytearray()
        for number, (name, kind, width) in enumerate(_FIELDS, 1):
            width = widths.get(width, width)
            data = np.full(max(width, 1), _NONE.get(name, 0), kind)
            if data.dtype.kind == "f":
                data[:] = math.nan
            wire = _PACKED if width else _WIRE[kind][1]
            blank += _varint(number << 3 | wire) + (_varint(data.nbytes) if width else b"")
            names.append(name)
            formats.append((kind, (width,)) if width else kind)
            offsets.append(len(blank))
            blank += data.tobytes()
        layout: Any = {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "itemsize": len(blank),
        }
        row = np.frombuffer(bytes(blank), np.uint8)
        return TickRow(observation_size, action_size, np.dtype(layout), row)

    @property
    def nbytes(self) -> int:
        """Length of a row."""
        return len(self.blank)

    def offset(self, name: str) -> int:
        """Return where a field begins in a row."""
        fields: Any = self.dtype.fields  # None for a type without fields, which this is not
        return int(fields[name][1])

    def rows(self, count: int) -> NDArray[np.uint8]:
        """Return blank rows, shape (count, bytes)."""
        return np.tile(self.blank, (count, 1))

    def columns(self, rows: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return every field of some rows, (T, bytes), by its name: views with a first axis T."""
        table = rows.view(self.dtype)[:, 0]
        return {name: table[name] for name, _, _ in _FIELDS}

    def fits(self, rows: NDArray[np.uint8]) -> bool:
        """Return whether messages, shape (T, bytes), have every tag at the place of this layout."""
        tags = np.ones(self.nbytes, bool)
        for name, _, _ in _FIELDS:
            start = self.offset(name)
            tags[start : start + self.dtype[name].itemsize] = False
        return bool((rows[:, tags] == self.blank[tags]).all())

    @staticmethod
    def schema() -> bytes:
        """Return a serialized FileDescriptorSet with the message ``minitaur.Tick``."""
        package, _, message_name = SCHEMA_NAME.partition(".")
        files = descriptor_pb2.FileDescriptorSet()
        file = files.file.add(name="minitaur/tick.proto", package=package, syntax="proto3")
        message = file.message_type.add(name=message_name)
        for number, (name, kind, width) in enumerate(_FIELDS, 1):
            label = _Proto.LABEL_REPEATED if width else _Proto.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label, type=_WIRE[kind][0])
            if name in _ENUMS:
                members = _ENUMS[name]
                field.type_name = f".{SCHEMA_NAME}.{members.__name__}"
                described = message.enum_type.add(name=members.__name__)
                for member in members:
                    # Names of one scope must differ, and both enumerations have their own.
                    full = f"{members.__name__.upper()}_{member.name}"
                    described.value.add(name=full, number=member.value)
        return bytes(files.SerializeToString())


def _varint(value: int) -> bytes:
    """Return an unsigned number as protobuf's varint: seven bits a byte, the lowest first."""
    low, rest = value & 127, value >> 7
    return bytes((low | 128,)) + _varint(rest) if rest else bytes((low,))
