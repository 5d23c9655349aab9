from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import pytest

from robot_firmware_bridge.json_values import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    JsonValueError,
    Length,
    Within,
    decode,
    parse,
)


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
    angle_rad: Annotated[float, Within(-1.5, 1.5, "the joint's range")] | None = None
    teeth: Annotated[tuple[Annotated[int, Within(1, 9)], ...], Length(2, 3)] = (1, 2)
    code: Annotated[str, Length(4, 4)] = "abcd"


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
        (
            edited(angle_rad=1.6),
            r"part.angle_rad must be in \[-1.5, 1.5\] \(the joint's range\), is 1.6",
        ),
        (edited(angle_rad=10**300), r"angle_rad must be in .*, is 1e\+300$"),
        (edited(teeth=[1, 10**60]), r"part.teeth\[1\] must be in \[1, 9\], is 1e\+60$"),
        (edited(teeth=[1]), "part.teeth must have 2 to 3 values, has 1"),
        (edited(code="abc"), "part.code must have 4 characters, has 3"),
        (edited(label="\ud800"), "part.label has half of a surrogate pair"),
        (edited(notes={"\udfff": 1}), "part.notes has half of a surrogate pair"),
        (
            edited().replace('"count"', '"name": "arm", "count"'),
            "part is not JSON: 'name' is there twice",
        ),
        (" " * MAX_CHARACTERS + "1", f"part has {MAX_CHARACTERS + 1} characters, more than"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str) -> None:
    with pytest.raises(JsonValueError, match=message):
        read(text)


def test_bounds_are_included() -> None:
    assert read(edited(angle_rad=-1.5)).angle_rad == -1.5
    assert read(edited(angle_rad=1.5, teeth=[1, 9, 9], code="wxyz")).teeth == (1, 9, 9)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u2028", "x" * 10_000])
def test_a_message_is_one_short_line(name: str) -> None:
    for text in (edited(**{name: 1}), edited(colour=name), edited(notes={name: float("inf")})):
        with pytest.raises(JsonValueError) as caught:
            read(text)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 400


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
