"""Configurations as JSON: written into every run folder, read back strictly.

A field that is missing, unknown or of the wrong type is an error that names it: a run that goes on
under a silently different configuration is worth less than none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training.runs.presets import TrainConfig
from training.errors import ConfigError

# What may differ between two runs that must end with the same policy.
_RESOURCES = ("workers", "device")


def config_to_json(config: TrainConfig) -> str:
    """The resolved configuration, indented, every field named."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def config_from_json(text: str) -> TrainConfig:
    """Reads what ``config_to_json`` wrote.

    Raises:
        ConfigError: Not JSON, or a field is missing, unknown, mistyped or impossible.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"config is not JSON: {error}") from error
    config = _decode(TrainConfig, data, "config")
    if not isinstance(config, TrainConfig):
        raise ConfigError("config must be a JSON object")
    return config


def config_identity(config: TrainConfig) -> str:
    """Hash of all that decides the result, hexadecimal: equal for runs that can resume each other.

    Left out are the fields that only say where the work is done.
    """
    canonical = json.dumps(_plain(config), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def config_differences(mine: TrainConfig, theirs: TrainConfig) -> list[str]:
    """The fields that keep one run from resuming the other, as ``name: mine, not theirs``."""
    ours, others = _flat(_plain(mine)), _flat(_plain(theirs))
    return [
        f"{name}: {ours.get(name)!r}, not {others.get(name)!r}"
        for name in {**ours, **others}
        if ours.get(name) != others.get(name)
    ]


def _plain(config: TrainConfig) -> dict[str, Any]:
    """What decides the result, in JSON's types (tuples are lists there)."""
    data: dict[str, Any] = json.loads(config_to_json(config))
    for name in _RESOURCES:
        del data[name]
    return data


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    out: dict[str, Any] = {}
    for name, value in data.items():
        out |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return out


def _decode(kind: Any, value: Any, path: str) -> Any:
    """Checks ``value`` against the type ``kind`` and builds it; ``path`` names it in errors."""
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), value, path)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ConfigError(f"{path} must be one of {', '.join(get_args(kind))}, got {value!r}")
    if origin is tuple and isinstance(value, list):
        (item, _) = get_args(kind)
        return tuple(_decode(item, each, f"{path}[{i}]") for i, each in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return value
    # JSON has one number type, and bool is an int in Python: neither may decide.
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ConfigError(f"{path} has the wrong type: {value!r}")


def _decode_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be an object, got {value!r}")
    hints = get_type_hints(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        raise ConfigError(f"{path} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(hints.keys() - value.keys()):
        raise ConfigError(f"{path} lacks fields: {', '.join(missing)}")
    return kind(**{name: _decode(hints[name], value[name], f"{path}.{name}") for name in hints})


def _decode_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    """An optional value, or one of several dataclasses told apart by their ``kind`` field."""
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _decode(options[0], value, path)
    by_kind = {option().kind: option for option in options}
    tag = value.get("kind") if isinstance(value, dict) else None
    if tag not in by_kind:
        raise ConfigError(f"{path}.kind must be one of {', '.join(by_kind)}, got {tag!r}")
    return _decode(by_kind[tag], value, path)
