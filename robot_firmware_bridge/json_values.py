"""Strict decoding of JSON into frozen dataclasses, for every file that this stack reads back.

A field that is missing, unknown, of another type, not finite or out of its bounds is an error that
names the field by its path. Types may be dataclasses, tuples, mappings, ``Literal``, ``int``,
``float``, ``str``, ``bool``, unions with None, and unions of dataclasses that a
``kind: Literal[...]`` tells apart. A number carries its bounds in its type, beside its field::

    frequency_hz: Annotated[float, Within(0.0, 20.0)]
    scale_rad: Annotated[tuple[Annotated[float, Within(-3.2, 3.2)], ...], Length(8, 8)]

A file may lack only a field whose type says ``Added()``.

Imports the standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

# Deeper than any file of this stack, shallow enough for every recursion over the data.
MAX_DEPTH = 32
# A hundred times the longest text of this stack; a larger one is not read.
MAX_CHARACTERS = 1 << 20
_LONGEST_MESSAGE = 400


class JsonValueError(ValueError):
    """A text is not JSON, or does not describe the value wanted; the message names the field.

    The message is one short line of printable characters, whatever the text holds.
    """

    def __init__(self, message: str) -> None:
        line = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in message
        )
        super().__init__(
            line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 4]} ..."
        )


@dataclass(frozen=True, slots=True)
class Within:
    """Bounds of a number, both included.

    Attributes:
        low: Least value.
        high: Greatest value.
        source: Where the bounds come from, for errors; empty if the field says it all.
    """

    low: float
    high: float
    source: str = ""

    def check(self, value: Any, path: str) -> None:
        """Refuse a value out of bounds.

        Raises:
            JsonValueError: Names the field, its value and the bounds.
        """
        if not self.low <= value <= self.high:
            source = f" ({self.source})" if self.source else ""
            bounds = f"[{self.low:g}, {self.high:g}]{source}"
            raise JsonValueError(f"{path} must be in {bounds}, is {_short(value)}")


@dataclass(frozen=True, slots=True)
class Added:
    """Marks a field that a format got later: where a file lacks it, its default holds."""


@dataclass(frozen=True, slots=True)
class Length:
    """Bounds of the length of a list or a text, both included."""

    low: int
    high: int

    def check(self, value: Any, path: str) -> None:
        """Refuse a value that is too short or too long.

        Raises:
            JsonValueError: Names the field, its length and the bounds.
        """
        if not self.low <= len(value) <= self.high:
            what = "characters" if isinstance(value, str) else "values"
            wanted = self.low if self.low == self.high else f"{self.low} to {self.high}"
            raise JsonValueError(f"{path} must have {wanted} {what}, has {len(value)}")


def parse(text: str, name: str) -> Any:
    """Return the data in a JSON text; ``name`` stands for it in errors.

    Raises:
        JsonValueError: Not JSON, too long, nested too deeply, with a name twice in one object, with
            a number that is not finite, or with text that cannot be written.
    """
    if len(text) > MAX_CHARACTERS:
        raise JsonValueError(f"{name} has {len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise JsonValueError(f"{name} is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise JsonValueError(f"{name} is not JSON: {error}") from error
    _check(data, name, MAX_DEPTH)
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; two values of one name leave it open which of them holds."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _short(value: Any) -> str:
    """Return a number as text; one of many digits in exponential form."""
    text = repr(value)
    return text if len(text) <= 30 else f"{float(value):g}"


def _check(data: Any, path: str, depth: int) -> None:
    """Refuse data that is too deep, numbers beyond a float's range, and halves of characters."""
    if depth < 0:
        raise JsonValueError(f"{path} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(data, dict):
        for name, item in data.items():
            _check(name, path, depth - 1)
            _check(item, f"{path}.{name}", depth - 1)
    elif isinstance(data, list):
        for i, item in enumerate(data):
            _check(item, f"{path}[{i}]", depth - 1)
    elif isinstance(data, int | float) and not abs(data) <= sys.float_info.max:
        raise JsonValueError(f"{path} must be finite")
    elif isinstance(data, str) and any("\ud800" <= c <= "\udfff" for c in data):
        raise JsonValueError(f"{path} has half of a surrogate pair, which no file can hold")


def decode(kind: Any, data: Any, path: str) -> Any:
    """Return the value of type ``kind`` that data of :func:`parse` describes.

    Args:
        kind: The type wanted.
        data: JSON data.
        path: Name of the data in errors; fields are named after it.

    Raises:
        JsonValueError: Names the first field that does not fit.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = decode(arguments[0], data, path)
        for bounds in arguments[1:]:
            if isinstance(bounds, Within | Length):
                bounds.check(value, path)
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, path)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, data, path)
    if origin is Literal:
        if data not in arguments:
            raise JsonValueError(
                f"{path} must be one of {', '.join(arguments)}, is {reprlib.repr(data)}"
            )
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise JsonValueError(f"{path} must be a list, is {type(data).__name__}")
        kinds = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        if len(data) != len(kinds):
            raise JsonValueError(f"{path} must have {len(kinds)} values, has {len(data)}")
        items = enumerate(zip(kinds, data, strict=True))
        return tuple(decode(each, item, f"{path}[{i}]") for i, (each, item) in items)
    if origin in (dict, Mapping):
        return {
            name: decode(arguments[1], item, f"{path}.{name}")
            for name, item in _object(data, path).items()
        }
    if kind in (Any, object):
        return data
    # JSON has one number type, and bool is an int in Python: neither may decide.
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:
        raise JsonValueError(f"{path} must be {kind.__name__}, is {type(data).__name__}")
    return data


def check_bounds(value: Any, path: str) -> None:
    """Refuse a dataclass that was not decoded, of which a field is out of the bounds in its type.

    Raises:
        JsonValueError: Names the first such field.
    """
    prefix = f"{path}." if path else ""
    for name, kind in get_type_hints(type(value), include_extras=True).items():
        _check_bounds(kind, getattr(value, name), f"{prefix}{name}")


def _check_bounds(kind: Any, value: Any, path: str) -> None:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        _check_bounds(arguments[0], value, path)
        for bounds in arguments[1:]:
            if isinstance(bounds, Within | Length):
                bounds.check(value, path)
    elif origin in (Union, types.UnionType) and value is not None:
        (option, *others) = (each for each in arguments if each is not type(None))
        if not others:
            _check_bounds(option, value, path)
    elif origin is tuple and arguments[-1] is Ellipsis:
        for i, item in enumerate(value):
            _check_bounds(arguments[0], item, f"{path}[{i}]")


def _decode_dataclass(kind: Any, data: Any, path: str) -> Any:
    hints, fields = get_type_hints(kind, include_extras=True), _object(data, path)
    if unknown := sorted(fields.keys() - hints.keys()):
        raise JsonValueError(f"{path} has unknown fields: {', '.join(unknown)}")
    added = {name for name, hint in hints.items() if Added() in getattr(hint, "__metadata__", ())}
    if missing := sorted(hints.keys() - fields.keys() - added):
        raise JsonValueError(f"{path} lacks fields: {', '.join(missing)}")
    return kind(**{name: decode(hints[name], fields[name], f"{path}.{name}") for name in fields})


def _decode_union(options: tuple[Any, ...], data: Any, path: str) -> Any:
    """Decode an optional value, or one of several dataclasses told apart by their ``kind``."""
    if data is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return decode(options[0], data, path)
    by_kind = {tag: each for each in options for tag in get_args(get_type_hints(each)["kind"])}
    tag = _object(data, path).get("kind")
    if not isinstance(tag, str) or tag not in by_kind:
        raise JsonValueError(
            f"{path}.kind must be one of {', '.join(by_kind)}, is {reprlib.repr(tag)}"
        )
    return decode(by_kind[tag], data, path)


def _object(data: Any, path: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise JsonValueError(f"{path} must be an object, is {type(data).__name__}")
    return data
