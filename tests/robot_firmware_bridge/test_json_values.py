from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from robot_firmware_bridge.json_values import MAX_DEPTH, JsonValueError, decode, parse


@dataclass(frozen=True)
class Circle:
    radius_m: float
    kind: Literal["circle"] = "circle"


@dataclass(frozen=True)
class Square:
    side_m: float
    kind: Literal["square"] = "square"


@dataclass(frozen=True)
class Part:
    name: str
    count: int
    painted: bool
    shape: Circle | Square
    colour: Literal["red", "blue"]
    weights: tuple[float, ...]
    place_m: tuple[float, float]
    label: str | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    anything: Any = None


PART = Part(
    name="leg",
    count=4,
    painted=True,
    shape=Square(0.5),
    colour="blue",
    weights=(1.0, 0.1 + 0.2),
    place_m=(0.0, -1e-300),
    label="front",
    notes={"by": ["hand", None, 3]},
    sizes={"m": 2},
    anything=[{"a": 1.5}],
)


def edited(**changes: Any) -> str:
    """The JSON of ``PART`` with fields changed; without those that are ``...``."""
    data = {**asdict(PART), **changes}
    return json.dumps({name: value for name, value in data.items() if value is not ...})


def read(text: str) -> Part:
    return decode(Part, parse(text, "part"), "part")


def test_a_round_trip_is_exact() -> None:
    assert read(edited()) == PART


def test_what_json_does_not_tell_apart() -> None:
    assert read(edited(label=None)).label is None
    whole = read(edited(weights=[1, 2])).weights
    assert [type(weight) for weight in whole] == [float, float]
    assert read(edited(shape={"kind": "circle", "radius_m": 1})).shape == Circle(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "part is not JSON: "),
        ("[]", "part must be an object, is list"),
        (edited(nam=1, hue=2), "part has unknown fields: hue, nam"),
        (edited(name=..., label=...), "part lacks fields: label, name"),
        (edited(name=3), "part.name must be str, is int"),
        (edited(count=True), "part.count must be int, is bool"),
        (edited(count=4.0), "part.count must be int, is float"),
        (edited(painted=1), "part.painted must be bool, is int"),
        (edited(weights=[1.0, False]), r"part.weights\[1\] must be float, is bool"),
        (edited(weights=1.0), "part.weights must be a list, is float"),
        (edited(place_m=[0.0]), "part.place_m must have 2 values, has 1"),
        (edited(colour="green"), "part.colour must be one of red, blue, is 'green'"),
        (edited(colour=["red"]), r"part.colour must be one of red, blue, is \['red'\]"),
        (edited(shape=None), "part.shape must be an object, is NoneType"),
        (edited(shape={"side_m": 1.0}), "part.shape.kind must be one of circle, square, is None"),
        (edited(shape={"kind": "circle", "side_m": 1.0}), "part.shape has unknown fields: side_m"),
        (edited(shape={"kind": ["circle"]}), r"part.shape.kind must be one of .*, is \['circle'\]"),
        (edited(notes=[]), "part.notes must be an object, is list"),
        (edited(sizes={"m": "2"}), "part.sizes.m must be int, is str"),
        (edited(weights=[float("nan")]), r"part.weights\[0\] must be finite"),
        (edited(notes={"a": [float("-inf")]}), r"part.notes.a\[0\] must be finite"),
        (edited().replace("0.5", "1e999"), "part.shape.side_m must be finite"),
        (edited(weights=[10**400]), r"part.weights\[0\] must be finite"),
        ("1" * 5000, "part is not JSON: .*digits"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str) -> None:
    with pytest.raises(JsonValueError, match=message):
        read(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_hostile_nesting_is_an_error_and_no_recursion(depth: int, brackets: str) -> None:
    opening, closing = brackets[:-1], brackets[-1]
    nested = f'"anything": {opening * depth}1{closing * depth}'
    text = edited(anything=1).replace('"anything": 1', nested)
    with pytest.raises(JsonValueError, match=f"nested more than {MAX_DEPTH} levels deep"):
        read(text)


def test_the_deepest_that_is_read() -> None:
    depth = MAX_DEPTH - 1  # the object itself is a level
    assert read(edited(anything=json.loads("[" * depth + "]" * depth))).name == "leg"
