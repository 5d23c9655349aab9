"""Who takes part in the transfer protocol: shipped policies, the standing robot, the peers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import stance
from robot_firmware_bridge.robot import NUM_LEGS
from studies.peers.peers import PEERS, write_policy
from studies.transfer.conditions import STANDING
from training.errors import EvaluationError
from training.rollout.policy import Normaliser, PolicySnapshot

SHIPPED = Path("policies")


def standing() -> tuple[PolicySnapshot, Contract]:
    """A policy that holds the stance whatever it sees: what pushes do to a robot that just stands.

    Its network is one layer of zeros.
    """
    outputs = 2 * NUM_LEGS
    snapshot = PolicySnapshot(
        normaliser=Normaliser(np.zeros(2, np.float32), np.ones(2, np.float32), 5.0),
        weights=(np.zeros((outputs, 2), np.float32),),
        biases=(np.zeros(outputs, np.float32),),
        activation="relu",
        action_std=np.ones(outputs, np.float32),
    )
    contract = Contract(
        observation=(ObservationTerm("roll_pitch"),),
        action=ActionSpec(scale_rad=(0.0,) * outputs, lowpass_hz=0.0, gait=stance()),
        provenance={"source": "the stance of robot_firmware_bridge.robot, held"},
    )
    return snapshot, contract


def known_policies(shipped: Path = SHIPPED) -> list[str]:
    """Names of all who take part, in the order in which they are reported."""
    return [*sorted(path.stem for path in shipped.glob("*.onnx")), STANDING, *PEERS]


def turn(policy: str) -> int:
    """Where a policy stands in the order of computing: ours, the standing robot, the peers."""
    return (policy == STANDING) + 2 * (policy in PEERS)


def gather(names: tuple[str, ...], folder: Path, shipped: Path = SHIPPED) -> dict[str, Path]:
    """Policy files by name; those that are made and not shipped are written to ``folder``.

    Args:
        names: Names of :func:`known_policies`, or paths of ONNX files; all known for none.
        folder: Where to write the standing robot and the peers.
        shipped: Folder of the shipped policies.

    Raises:
        EvaluationError: There is no such policy, or two of one name.
        PeerError: A peer's checkpoint cannot be read.
    """
    known = known_policies(shipped)
    files: dict[str, Path] = {}
    for name in names or known:
        given = Path(name)
        stem = given.stem if given.suffix == ".onnx" else name
        if stem in files or (given.suffix == ".onnx" and stem in (STANDING, *PEERS)):
            raise EvaluationError(f"the name {stem!r} means two policies; rename a file")
        if given.suffix == ".onnx":
            files[stem] = given
        elif name not in known:
            raise EvaluationError(
                f"unknown policy {name!r}; known: {', '.join(known)}, or the path of an ONNX file"
            )
        elif name == STANDING:
            files[name] = folder / f"{name}.onnx"
            write_policy(*standing(), files[name])
        elif name in PEERS:
            files[name] = folder / f"{name}.onnx"
            write_policy(PEERS[name].snapshot(), PEERS[name].contract, files[name])
        else:
            files[name] = shipped / f"{name}.onnx"
    return files
