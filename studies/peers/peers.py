"""The policies that ship with PyBullet, as policy files of this stack: those to compare with.

``python -m studies.peers --help`` teaches. ``pybullet_data`` carries networks trained with the
code of Tan et al. 2018 (arXiv 1804.10332), as TensorFlow checkpoints; the environments that they
were trained in are in ``pybullet_envs``. What those do to an observation on its way in and to an
action on its way out stands in the policy file's graph and contract here, so that everything
downstream treats a peer as any policy. Facts about the peers come from their code; no line of it is
used.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from deploy.errors import DeployError
from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import Gait, stance
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS
from studies.peers.bundle import read_tensors
from training import export
from training.errors import PeerError, TrainingError
from training.rollout.policy import Normaliser, PolicySnapshot

_CHECKPOINT = "model.ckpt-14000000"
_LAYERS = ("fully_connected", "fully_connected_1", "fully_connected_2")
_PARTS = ("weights", "biases")
_LOG_STD = "network/rnn/policy/logstd"
_COUNT, _MEAN, _SQUARES = (f"normalize_observ/Variable{suffix}" for suffix in ("", "_1", "_2"))
# Their normaliser: deviations are clipped at 5, variances have a floor, roots another.
_CLIP = 5.0
_VARIANCE_FLOOR = 1e-4
_STD_FLOOR = 1e-8
# Half widths of their observation space, by which observations are divided before all else. A rate
# may be one turn per simulation step of 1 ms, so that rates come out in the ten-thousandths, where
# the floor of the variance all but hides them.
_SLACK = 0.01
_ANGLE_BOUND = 2.0 * math.pi + _SLACK
_RATE_BOUND = 2.0 * math.pi / 0.001 + _SLACK


@dataclass(frozen=True, slots=True)
class Peer:
    """A policy of ``pybullet_data``.

    Attributes:
        name: Its name here.
        folder: Where its checkpoint lies under ``pybullet_data/policies/ppo``.
        bounds: Half width of their observation space, shape (O,), in the network's order.
        contract: What it sees and how its output becomes motor angles, in the terms of this stack.
    """

    name: str
    folder: str
    bounds: tuple[float, ...]
    contract: Contract

    @property
    def checkpoint(self) -> Path:
        """Prefix of the checkpoint's files on this machine."""
        return policies_folder() / self.folder / _CHECKPOINT

    def snapshot(self) -> PolicySnapshot:
        """The network, its normaliser folded into one mean and deviation of raw observations.

        Raises:
            PeerError: The checkpoint is not there or not what was expected.
        """
        parts = [f"network/rnn/policy/{name}/{part}" for name in _LAYERS for part in _PARTS]
        names = [_COUNT, _MEAN, _SQUARES, _LOG_STD, *parts]
        return fold(read_tensors(self.checkpoint, names), np.array(self.bounds))


def policies_folder() -> Path:
    """Where PyBullet's policies lie on this machine.

    Raises:
        PeerError: ``pybullet_data`` is not installed.
    """
    spec = importlib.util.find_spec("pybullet_data")
    if spec is None or not spec.submodule_search_locations:
        raise PeerError("pybullet_data not found: install PyBullet (pip install .[sim])")
    return Path(spec.submodule_search_locations[0]) / "policies" / "ppo"


def fold(tensors: Mapping[str, NDArray[Any]], bounds: NDArray[np.float64]) -> PolicySnapshot:
    """Their two normalisers as one, and their weights the way round that this stack has them.

    They compute ``clip((o / bound - mean) / (sqrt(squares / (count - 1) + 1e-4) + 1e-8), +-5)``.

    Raises:
        PeerError: The sizes do not fit.
    """
    mean = tensors[_MEAN].astype(np.float64)
    if mean.shape != bounds.shape:
        raise PeerError(f"the normaliser has {mean.size} observations, expected {bounds.size}")
    variance = tensors[_SQUARES].astype(np.float64) / (int(tensors[_COUNT]) - 1)
    std = np.sqrt(variance + _VARIANCE_FLOOR) + _STD_FLOOR
    at = "network/rnn/policy/"
    return PolicySnapshot(
        normaliser=Normaliser(
            (mean * bounds).astype(np.float32), (std * bounds).astype(np.float32), _CLIP
        ),
        weights=tuple(np.ascontiguousarray(tensors[f"{at}{n}/weights"].T) for n in _LAYERS),
        biases=tuple(tensors[f"{at}{n}/biases"] for n in _LAYERS),
        activation="relu",
        action_std=np.exp(tensors[_LOG_STD]),
    )


def _trot_of_the_paper() -> Gait:
    """The reference of ``MinitaurTrottingEnv``: all at once, without a ramp."""
    return Gait(
        name="trot_of_the_paper",
        frequency_hz=2.0,
        swing_amplitude_rad=0.3,
        extension_amplitude_rad=0.35,
        extension_centre_rad=MINITAUR.stance_extension_rad,
        swing_lead=0.0,
        leg_phase=(0.0, 0.5, 0.5, 0.0),
        ramp_s=0.0,
    )


def _contract(terms: tuple[str, ...], scale_rad: float, gait: Gait, source: str) -> Contract:
    return Contract(
        observation=tuple(ObservationTerm(term) for term in terms),
        action=ActionSpec(scale_rad=(scale_rad,) * (2 * NUM_LEGS), lowpass_hz=0.0, gait=gait),
        control_period_s=0.006,
        kp=1.0,
        kd=0.015,
        provenance={"source": source},
    )


_ATTITUDE = ("roll_pitch", "world_roll_pitch_rate")
_ATTITUDE_BOUNDS = (_ANGLE_BOUND, _ANGLE_BOUND, _RATE_BOUND, _RATE_BOUND)

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "peer-trot",
            "minitaur_trotting_env",
            _ATTITUDE_BOUNDS,
            _contract(
                _ATTITUDE,
                0.25,
                _trot_of_the_paper(),
                f"pybullet_data/policies/ppo/minitaur_trotting_env/{_CHECKPOINT}",
            ),
        ),
        Peer(
            "peer-gallop",
            "minitaur_reactive_env",
            _ATTITUDE_BOUNDS + (_ANGLE_BOUND,) * NUM_MOTORS,
            _contract(
                (*_ATTITUDE, "motor_position"),
                0.5,
                stance(),
                f"pybullet_data/policies/ppo/minitaur_reactive_env/{_CHECKPOINT}",
            ),
        ),
    )
}


def write_policy(snapshot: PolicySnapshot, contract: Contract, path: Path) -> None:
    """Write a network in plain arrays as a policy file; the same bytes for the same network.

    Raises:
        DeployError: The network does not fit the contract.
    """
    export.write_policy(snapshot.layers, snapshot.normaliser, contract, path)


def write_peers(folder: Path) -> dict[str, Path]:
    """Write every peer to ``folder``; name to file.

    Raises:
        PeerError: A checkpoint cannot be read.
    """
    paths = {name: folder / f"{name}.onnx" for name in PEERS}
    for name, path in paths.items():
        write_policy(PEERS[name].snapshot(), PEERS[name].contract, path)
    return paths


@dataclass(frozen=True, slots=True)
class Arguments:
    """Write the policies that ship with PyBullet as policy files of this stack.

    Attributes:
        out: Folder to write them to.
    """

    out: Path = Path("build/peers")


def main() -> int:
    """Command line; exit code 0 when the files were written, 2 otherwise."""
    arguments = tyro.cli(Arguments, prog="python -m studies.peers")
    try:
        paths = write_peers(arguments.out)
    except (TrainingError, DeployError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, path in paths.items():
        terms = ", ".join(term.name for term in PEERS[name].contract.observation)
        print(f"wrote {path}: observation {terms}; try: make run POLICY={path}")
    return 0
