"""A link tree as a file of numbers: JSON at full precision, so that reading it back is exact.

The robot's two descriptions lie in ``sim/model/data``; ``sim.model.derive`` writes them. Must not
import a physics engine.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sim.model.link_tree import (
    Collision,
    Geometry,
    Joint,
    Link,
    LinkTree,
    ModelError,
    Pose,
    Visual,
    frozen,
)


def tree_to_json(tree: LinkTree, source: Mapping[str, str]) -> str:
    """Return a tree as JSON text, one link or joint a line.

    Args:
        tree: Links and joints, in order.
        source: Where the numbers come from, for people.
    """
    rows = {
        "source": json.dumps(dict(source)),
        "name": json.dumps(tree.name),
        **{
            kind: "[\n" + ",\n".join(json.dumps(_plain(part)) for part in parts) + "\n]"
            for kind, parts in (("links", tree.links), ("joints", tree.joints))
        },
    }
    body = ",\n".join(f'"{name}": {text}' for name, text in rows.items())
    return f"{{\n{body}\n}}\n"


def read_tree(path: Path) -> LinkTree:
    """Read a file of :func:`tree_to_json`.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        links = tuple(_link(each) for each in data["links"])
        return LinkTree(data["name"], links, tuple(_joint(each) for each in data["joints"]))
    except ModelError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{path}: not a whole description of a robot: {error!r}") from error


def _plain(value: Any) -> Any:
    """Return a value as what JSON has: each dataclass as an object, each array as a list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _pose(data: Any) -> Pose:
    return Pose(frozen(data["xyz"]), frozen(data["rotation"]))


def _geometry(data: Any) -> Geometry:
    return Geometry(data["kind"], tuple(data["size"]), data["mesh"])


def _link(data: Any) -> Link:
    visuals = (
        Visual(
            _geometry(each["geometry"]),
            _pose(each["origin"]),
            each["material"],
            None if each["rgba"] is None else tuple(each["rgba"]),
        )
        for each in data["visuals"]
    )
    collisions = (
        Collision(_geometry(each["geometry"]), _pose(each["origin"]), each["source"])
        for each in data["collisions"]
    )
    return Link(
        data["name"],
        data["mass"],
        frozen(data["com"]),
        frozen(data["inertia"]),
        tuple(visuals),
        tuple(collisions),
        tuple((tag, value) for tag, value in data["contact"]),
    )


def _joint(data: Any) -> Joint:
    return Joint(
        data["name"],
        data["kind"],
        data["parent"],
        data["child"],
        _pose(data["origin"]),
        frozen(data["axis"]),
        tuple((name, value) for name, value in data["limit"]),
    )
