"""What a sweep varies: numbers of a training configuration, by their dotted names.

    ppo.objective.clip_range=0.1,0.2,0.3     a list: each of these
    ppo.policy_learning_rate=1e-4..1e-3:log  a range: any number in it, here on a log scale
    ppo.policy_epochs=5..20                  of a whole number, any whole number in it

A list is kept in order and a space by name, so that one space has one text, however it was typed.
Imports neither torch nor an environment.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from training.errors import ConfigError
from training.runs.config import RESOURCES, TrainConfig, config_from_json, config_to_json

Values = Mapping[str, float]
"""A value for every name of a space; whole numbers are ``int``."""

# What decides no result, and what the sweep itself counts.
_NOT_VARIED = (*RESOURCES, "seed")
_LOG = ":log"
_HOW = "write NAME=VALUE,VALUE,... or NAME=LOW..HIGH or NAME=LOW..HIGH:log"


@dataclass(frozen=True, slots=True)
class Listed:
    """A few values, in rising order."""

    values: tuple[float, ...]

    @property
    def ends(self) -> tuple[float, ...]:
        """Values that show whether a configuration takes all of them: all."""
        return self.values

    def __str__(self) -> str:
        """Return it as it is typed."""
        return ",".join(map(str, self.values))


@dataclass(frozen=True, slots=True)
class Ranged:
    """All numbers from the least to the greatest, both included."""

    low: float
    high: float
    is_log: bool

    @property
    def ends(self) -> tuple[float, ...]:
        """Values that show whether a configuration takes all of them: least and greatest."""
        return self.low, self.high

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.low}..{self.high}{_LOG if self.is_log else ''}"


Space = Mapping[str, Listed | Ranged]


def parse_space(words: Sequence[str], config: TrainConfig) -> Space:
    """Return the space that words describe, by name.

    Raises:
        ConfigError: A word is malformed, names no number of the configuration, or has a value that
            the configuration refuses.
    """
    fields, found = numeric_fields(config), dict[str, Listed | Ranged]()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise ConfigError(f"--vary {word}: {_HOW}")
        if name not in fields:
            raise ConfigError(f"--vary {name}: {_unknown(name, fields)}")
        if name in found:
            raise ConfigError(f"--vary {name} is there twice")
        found[name] = _parse(name, text, fields[name])
        for value in found[name].ends:
            with_values(config, {name: value})
    return {name: found[name] for name in sorted(found)}


def _unknown(name: str, fields: Mapping[str, type]) -> str:
    """Return why a name cannot be varied, and the nearest that can."""
    if name == "seed":
        return "the seeds are 0, 1, ... up to --seeds"
    (group, *_), last = name.split("."), name.rpartition(".")[2]
    alike = [each for each in fields if last and last in each.rpartition(".")[2]]
    alike = [each for each in alike if each.startswith(f"{group}.")] or alike
    near = difflib.get_close_matches(name, alike or fields, n=2 if alike else 1, cutoff=0.0)
    return f"the configuration has no such number; did you mean {' or '.join(near)}?"


def _parse(name: str, text: str, kind: type) -> Listed | Ranged:
    body = text.removesuffix(_LOG)
    if ".." not in body:
        if body != text:
            raise ConfigError(f"--vary {name}={text}: {_LOG} is for a range, LOW..HIGH{_LOG}")
        values = [_number(name, each, kind) for each in body.split(",")]
        if twice := [each for each in values if values.count(each) > 1]:
            raise ConfigError(f"--vary {name}={text}: {twice[0]} is there twice")
        return Listed(tuple(sorted(values)))
    low, high = (_number(name, each, kind) for each in body.split("..", 1))
    if not low < high:
        raise ConfigError(f"--vary {name}={text}: {low} is not less than {high}")
    if body != text and low <= 0:
        raise ConfigError(f"--vary {name}={text}: a log scale begins above 0")
    return Ranged(low, high, body != text)


def _number(name: str, text: str, kind: type) -> float:
    try:
        value: float = kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise ConfigError(f"--vary {name}: {text!r} is no {what}; {_HOW}") from None
    if not math.isfinite(value):
        raise ConfigError(f"--vary {name}: {text} is not finite")
    return value


def numeric_fields(config: TrainConfig) -> dict[str, type]:
    """Return every number of a configuration that can be varied: ``int`` or ``float`` by name."""
    return {name: kind for name, kind in _numbers(config, "") if name not in _NOT_VARIED}


def _numbers(holder: Any, prefix: str) -> Iterator[tuple[str, type]]:
    """Yield the numbers in a dataclass, by its types, or in a mapping, by its values."""
    if dataclasses.is_dataclass(holder):
        kinds = get_type_hints(type(holder))
        items = {name: getattr(holder, name) for name in kinds}
    else:
        kinds, items = {}, dict(holder)
    for name, value in items.items():
        kind = kinds.get(name, type(value))
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif number := next((each for each in (int, float) if each in options), None):
            yield prefix + name, number


def with_values(config: TrainConfig, values: Values) -> TrainConfig:
    """Return a configuration with some of its numbers replaced.

    Raises:
        ConfigError: It has no such number, or refuses a value; names the field.
    """
    fields = dict(_numbers(config, ""))
    for name in values:
        if name not in fields:
            raise ConfigError(f"{name}: {_unknown(name, fields)}")
    data = json.loads(config_to_json(config))
    for name, value in values.items():
        *path, last = name.split(".")
        holder = data
        for part in path:
            holder = holder[part]
        holder[last] = value
    return config_from_json(json.dumps(data))


def grid(space: Space) -> list[Values] | None:
    """Return every combination of the lists of a space; None if it has a range."""
    lists = [each.values for each in space.values() if isinstance(each, Listed)]
    if len(lists) < len(space):
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def described(values: Values) -> str:
    """Return values for people, in one line."""
    return ", ".join(f"{name}={short(value)}" for name, value in values.items())


def short(value: float) -> str:
    """Return a value in four digits, a whole number in all of them."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
