"""Dumps: all that it takes to run again what met a number that is not finite.

A dump is one ``.npz`` file, which ``minitaur replay`` runs. Its entry ``dump`` is JSON: what
happened, in which step of which episode or in which update, on which plant. The other entries are
arrays: the policy that acted, the actions up to then, or the batch and the learner of an update. A
worker process imports this module, so it imports no torch.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script
from deploy.files import write_atomically
from robot_firmware_bridge.installed import versions
from sim.plant.params import PlantParams
from training.errors import DumpError
from training.rollout.policy import Array, Normaliser, PolicySnapshot

FORMAT, VERSION = "minitaur-dump", 1
# The entry of the file that has the facts; `minitaur replay` knows a dump by it.
FACTS = "dump"
# What decides the bits of a replay besides the dump.
_LIBRARIES = ("numpy", "gymnasium", "pybullet", "mujoco", "torch")


@dataclass(frozen=True, slots=True)
class Dump:
    """A dump in memory.

    Attributes:
        facts: What JSON can say; ``kind`` is ``episode``, ``update`` or ``evaluation``, ``what`` is
            the quantity that was not finite, with its value.
        arrays: The rest, by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class EpisodeSoFar:
    """An episode up to where it broke off, in its T-th step.

    Attributes:
        actions: Actions that the environment was given, shape (T, A) or (T + 1, A).
        observations: Raw observations before each of them, of the same length.
        rewards: Rewards that it gave, shape (T,) or (T + 1,).
        drawn: The plant's parameters as drawn, and the course; empty for a task without any.
    """

    actions: Array
    observations: Array
    rewards: NDArray[np.float64]
    drawn: Mapping[str, Any]


def drawn_by(env: Any, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plant and the course of the episode that an environment is in, fit for JSON.

    Args:
        env: The environment. One of the Minitaur's has a ``plant``.
        info: What its ``reset`` returned; empty if that failed.
    """
    drawn: dict[str, Any] = {}
    params = getattr(getattr(env, "plant", None), "params", None)
    if isinstance(params, PlantParams):
        drawn["params"] = _plain(dataclasses.asdict(params))
    if isinstance(course := info.get("course"), Script):
        drawn["course"] = _plain(dataclasses.asdict(course))
    return drawn


def new_dump(
    kind: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
) -> Dump:
    """Make a dump of now, by this version and these libraries."""
    here = {
        "format": FORMAT,
        "format_version": VERSION,
        "kind": kind,
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": versions(_LIBRARIES),
    }
    return Dump({**here, **_plain(facts)}, dict(arrays or {}))


def write_dump(path: Path, dump: Dump) -> None:
    """Write a dump, whole or not at all.

    Raises:
        OSError: The disk is full or fails.
    """
    text = json.dumps(dump.facts, indent=2).encode()
    arrays: dict[str, Any] = {FACTS: np.frombuffer(text, np.uint8), **dump.arrays}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read_dump(path: Path) -> Dump:
    """Read a dump.

    Raises:
        DumpError: It is not there, damaged, or of another version of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop(FACTS).tobytes())
    except OSError as error:
        raise DumpError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DumpError(f"{path} is damaged, or no dump: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DumpError(f"{path} is no dump of this project")
    if facts.get("format_version") != VERSION:
        raise DumpError(f"{path} has version {facts.get('format_version')}, not {VERSION}")
    return Dump(facts, arrays)


def policy_arrays(policy: PolicySnapshot) -> dict[str, NDArray[Any]]:
    """Return a policy as entries of a dump; :func:`policy_of` reads them."""
    arrays: dict[str, NDArray[Any]] = {
        "policy_mean": policy.normaliser.mean,
        "policy_std": policy.normaliser.std,
        "policy_clip": np.array(policy.normaliser.clip),
        "policy_action_std": policy.action_std,
        "policy_activation": np.array(policy.activation),
    }
    for i, (weight, bias) in enumerate(policy.layers):
        arrays |= {f"policy_weight_{i}": weight, f"policy_bias_{i}": bias}
    return arrays


def policy_of(dump: Dump) -> PolicySnapshot:
    """Return the policy that acted."""
    arrays = dump.arrays
    count = sum(name.startswith("policy_weight_") for name in arrays)
    normaliser = Normaliser(
        arrays["policy_mean"], arrays["policy_std"], float(arrays["policy_clip"])
    )
    layers = tuple((arrays[f"policy_weight_{i}"], arrays[f"policy_bias_{i}"]) for i in range(count))
    activation: Any = str(arrays["policy_activation"])
    return PolicySnapshot(normaliser, layers, activation, arrays["policy_action_std"])


def so_far_arrays(so_far: EpisodeSoFar) -> dict[str, NDArray[Any]]:
    """Return what was done of an episode as entries of a dump."""
    names = ("actions", "observations", "rewards")
    return {name: getattr(so_far, name) for name in names}


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples and text for paths, as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return [_plain(each) for each in value] if is_list else value
