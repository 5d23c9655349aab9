"""A calibrated plant as a file: what records of a robot say about its parameters, and how surely.

The file is JSON for people and programs. It holds the values found, an interval of 95 % for each
parameter that the records tell, the names of those that they do not tell, and where all that comes
from. Plants that ship lie in ``sim/plant/data`` and are known by name. No physics engine is
imported here.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from robot_firmware_bridge import json_values
from robot_firmware_bridge.json_values import JsonValueError, Length, Within
from sim.errors import ParameterError
from sim.plant.params import (
    PlantParams,
    Range,
    Value,
    check_name,
    checked_range,
    differing,
    entries,
)

_DATA = Path(__file__).with_name("data")
_FORMAT = "minitaur calibrated plant"
_VERSION = 1
_SUFFIX = ".json"
# Of an episode, not of a robot.
_OF_EPISODES = frozenset(
    (
        "seed",
        "push_force_low_n",
        "push_force_high_n",
        "push_interval_s",
        "push_duration_s",
    )
)

_Text = Annotated[str, Length(1, 1000)]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a calibration comes from.

    Attributes:
        records: Name of each record that was used to its SHA-256, 64 hexadecimal digits.
        engine: The plant that was fitted, a name in ``sim.plant.registry.PLANTS``.
        command: The command line that made the calibration.
        date: The day, YYYY-MM-DD.
        fit: Figures of the fit by name, for people.
    """

    records: Mapping[str, str]
    engine: _Text
    command: _Text
    date: _Text
    fit: Mapping[str, float]

    def __post_init__(self) -> None:
        for record, digest in self.records.items():
            if re.fullmatch("[0-9a-f]{64}", digest) is None:
                raise ParameterError(
                    f"record {record!r} needs a SHA-256 of 64 hexadecimal digits, has {digest!r}"
                )
        for figure, value in self.fit.items():
            if not math.isfinite(value):
                raise ParameterError(f"figure {figure!r} of the fit is {value}: it must be finite")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError:
            raise ParameterError(f"date {self.date!r} must be a day, YYYY-MM-DD") from None


@dataclass(frozen=True, slots=True)
class CalibratedPlant:
    """What records of a robot say about the parameters of a plant.

    Attributes:
        name: For people and command lines.
        params: The values found, the nominal ones where none was sought.
        intervals: Parameter to the ends of its 95 % interval, which holds its value. Of a parameter
            with a number for each motor, both ends are eight numbers.
        unknown: Parameters that the records cannot tell.
        provenance: Where all that comes from.
    """

    name: str
    params: PlantParams
    intervals: Mapping[str, Range]
    unknown: tuple[str, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        """Check the intervals against the values.

        Raises:
            ParameterError: Names the parameter and what is wrong.
        """
        checked = {name: checked_range(name, ends) for name, ends in self.intervals.items()}
        object.__setattr__(self, "intervals", checked)
        for name in (*checked, *self.unknown, *self.overrides):
            check_name(name)
            if name in _OF_EPISODES:
                raise ParameterError(f"{name} is of an episode, not of a robot: leave it out")
        for name, (low, high) in checked.items():
            value: Value = getattr(self.params, name)
            for entry, least, most in zip(*map(entries, (value, low, high)), strict=True):
                if not least <= entry <= most:
                    raise ParameterError(
                        f"{name} = {entry} lies outside its interval [{least}, {most}]"
                    )
        if both := sorted(checked.keys() & set(self.unknown)):
            raise ParameterError(f"{both[0]} has an interval and is unknown: it can be one of both")

    @property
    def overrides(self) -> dict[str, Value]:
        """The values that are not the nominal ones, by name."""
        return differing(self.params)


@dataclass(frozen=True, slots=True)
class _File:
    """The layout of a file; the parameters' own values are checked by ``PlantParams``."""

    format: Literal["minitaur calibrated plant"]
    version: Annotated[int, Within(_VERSION, _VERSION, "what this program reads")]
    name: Annotated[str, Length(1, 100)]
    params: Mapping[str, Any]
    intervals: Mapping[str, Any]
    unknown: tuple[str, ...]
    provenance: Provenance


def names() -> tuple[str, ...]:
    """Return the names of the calibrated plants that ship, in alphabetical order."""
    return tuple(sorted(path.stem for path in _DATA.glob(f"*{_SUFFIX}")))


@dataclass(frozen=True, slots=True)
class PlantFile:
    """A calibrated plant, and the file that it was read from.

    Attributes:
        asked: The file or the name that was asked for.
        sha256: Of the file's bytes, 64 hexadecimal digits.
        plant: What the file says.
    """

    asked: str
    sha256: str
    plant: CalibratedPlant

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of the plant: file or name, the plant's own name, SHA-256."""
        return {"file": self.asked, "name": self.plant.name, "sha256": self.sha256}


def read_params(plant: str | Path) -> CalibratedPlant:
    """Read a calibrated plant; see :func:`read_plant_file`."""
    return read_plant_file(plant).plant


def read_plant_file(plant: str | Path) -> PlantFile:
    """Read a calibrated plant, and what tells its file from others.

    Args:
        plant: A file, or the name of a plant that ships: a text without a folder and a suffix.

    Raises:
        ParameterError: There is no such plant or file, or it is damaged, of another version or
            impossible; one line that names the file and what is wrong.
    """
    path = Path(plant)
    if path.name == str(plant) and not path.suffix:
        path = _DATA / f"{plant}{_SUFFIX}"
        if str(plant) not in names():
            near = difflib.get_close_matches(str(plant), names(), n=1)
            if Path(f"{plant}{_SUFFIX}").is_file():
                near = [f"the file {plant}{_SUFFIX}"]
            hint = f"did you mean {near[0]}? " if near else ""
            known = f"these ship: {', '.join(names())}" if names() else "none ships"
            raise ParameterError(
                f"unknown calibrated plant {str(plant)!r}; {hint}{known}; a file needs its suffix, "
                f"e.g. robot{_SUFFIX}"
            )
    if path.exists() and not path.is_file():  # a device may have no end
        raise ParameterError(f"{path}: a folder or a device, and a file is needed")
    try:
        data = path.read_bytes()
        decoded = _decoded(data.decode("utf-8"))
        return PlantFile(str(plant), hashlib.sha256(data).hexdigest(), decoded)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path}: not a calibrated plant: it is not text") from error
    except ValueError as error:  # JsonValueError and ParameterError among them
        raise ParameterError(f"{path}: {error}") from error


def _decoded(text: str) -> CalibratedPlant:
    data = json_values.parse(text, "the file")
    if isinstance(data, dict) and data.get("format") == _FORMAT:
        # Before the fields, which another version may have otherwise.
        version = data.get("version")
        if version != _VERSION:
            raise JsonValueError(
                f"it has version {version!r}, this program reads version {_VERSION}: calibrate anew"
            )
    file: _File = json_values.decode(_File, data, "plant")
    for name in file.params:
        check_name(name)
    return CalibratedPlant(
        file.name, PlantParams(**file.params), file.intervals, file.unknown, file.provenance
    )


def params_text(plant: CalibratedPlant) -> str:
    """Return a calibrated plant as the text of a file that :func:`read_params` reads, exactly.

    Of the values, those that are not nominal are written. ``deploy.files.write_atomically`` writes
    the text; this floor does not import that one.
    """
    provenance = dataclasses.asdict(plant.provenance)
    sections = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": plant.name,
        "params": plant.overrides,
        "intervals": dict(plant.intervals),
        "unknown": plant.unknown,
        "provenance": provenance,
    }
    rows = (f"  {json.dumps(name)}: {_section(value)}" for name, value in sections.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _section(value: Any) -> str:
    """Return JSON of a value; an object with one line for each of its fields."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False)
    rows = (
        f"    {json.dumps(name)}: {json.dumps(each, allow_nan=False)}"
        for name, each in value.items()
    )
    return "{\n" + ",\n".join(rows) + "\n  }"
