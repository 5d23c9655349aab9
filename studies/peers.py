"""Policies that are made and not trained here: the peers to compare with, and the standing robot.

``pybullet_data`` carries networks trained with the code of Tan et al. 2018 (arXiv 1804.10332), as
TensorFlow checkpoints; ``pybullet_envs`` has the environments that they were trained in. What those
do to an observation and to an action is in the policy file's graph and contract here, so that
everything downstream treats a peer as any policy. Facts about the peers come from their code; no
line of it is used. ``python -m studies.peers`` writes the files.

A TensorFlow V2 checkpoint is read without TensorFlow. It is an index (``PREFIX.index``) and a data
shard (``PREFIX.data-00000-of-00001``). The index is a sorted string table: blocks of
prefix-compressed keys, a block that lists the blocks, and a 48-byte footer that says where that
block is. A key is a variable's name. Its value is a small protocol buffer with type, shape, place
in the shard and checksum. Formats: ``tensor_bundle.proto`` and LevelDB's ``table_format.md``.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from fastcrc import crc32
from numpy.typing import NDArray

from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.gait import Gait, stance
from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.model.derive import data_folder
from studies.study import StudyError
from training.export import write_policy
from training.rollout.policy import Normaliser, PolicySnapshot

# ---- TensorFlow checkpoints

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # after a block: its compression, and a checksum
# The element types of tensor.proto that a policy may have.
_TYPES: dict[int, str] = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


class PeerError(StudyError):
    """A policy of the public code cannot be read."""


def read_tensors(
    prefix: Path, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, NDArray[Any]]:
    """Read the wanted variables of a checkpoint by name, each checked against its checksum.

    Raises:
        PeerError: A file is missing, damaged, or of a kind that is not read here.
    """
    index, shard = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    try:
        entries = {name: entry for name, entry in _index(index.read_bytes()) if wanted(name)}
        data = shard.read_bytes()
        return {name: _tensor(name, entry, data) for name, entry in entries.items()}
    except OSError as error:
        raise PeerError(f"cannot read {error.filename}: {error.strerror}") from error
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise PeerError(f"{prefix} is damaged, or of another kind: {error!r}") from error


def _index(data: bytes) -> Iterator[tuple[str, dict[int, Any]]]:
    """Yield name and entry, its fields by number, of every variable of an index."""
    if struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("not the index of a TensorFlow V2 checkpoint")
    footer = data[-_FOOTER_BYTES:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)  # the meta index, of no use here
    for _, handle in _entries(_block(data, footer, at)):
        for key, value in _entries(_block(data, handle, 0)):
            if key:  # the entry without a name is the header
                yield key.decode(), dict(_fields(value))


def _tensor(name: str, entry: dict[int, Any], shard: bytes) -> NDArray[Any]:
    """Return the variable of an entry: type 1, shape 2, shard 3, offset 4, size 5, checksum 6."""
    if entry.get(3, 0) != 0:
        raise ValueError("only checkpoints of one shard are read")
    offset, size = entry.get(4, 0), entry.get(5, 0)
    data = shard[offset : offset + size]
    if len(data) != size or masked_crc32c(data) != entry[6]:
        raise ValueError(f"the checksum of {name!r} does not fit")
    dimensions = [dict(_fields(part)) for number, part in _fields(entry.get(2, b"")) if number == 2]
    shape = [dimension.get(1, 0) for dimension in dimensions]
    return np.frombuffer(data, _TYPES[entry[1]]).reshape(shape)


def masked_crc32c(data: bytes) -> int:
    """Return the checksum of LevelDB's formats: a CRC-32C, rotated and shifted."""
    crc = crc32.iscsi(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a base-128 number, least group first; return it and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _block(data: bytes, handle: bytes, at: int) -> bytes:
    """Return the block that a handle, offset and size at ``handle[at:]``, points to."""
    offset, at = _varint(handle, at)
    size, _ = _varint(handle, at)
    end = offset + size
    if len(data) < end + _TRAILER_BYTES:
        raise ValueError("a block lies outside the file")
    (checksum,) = struct.unpack_from("<I", data, end + 1)
    if masked_crc32c(data[offset : end + 1]) != checksum:
        raise ValueError("the checksum of a block does not fit")
    if data[end] != 0:
        raise ValueError("compressed blocks are not read")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; a key shares its beginning with the one before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field of a protocol buffer; parts stay undecoded."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _varint(message, at)
        elif wire == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif wire == 5:
            value, at = struct.unpack_from("<I", message, at)[0], at + 4
        else:
            raise ValueError(f"wire type {wire} has no place in an index")
        yield number, value


# ---- The peers

_CHECKPOINT = "model.ckpt-14000000"
_NETWORK = "network/rnn/policy"
_LAYERS = tuple(f"{_NETWORK}/fully_connected{suffix}" for suffix in ("", "_1", "_2"))
_LOG_STD = f"{_NETWORK}/logstd"
_COUNT, _MEAN, _SQUARES = (f"normalize_observ/Variable{suffix}" for suffix in ("", "_1", "_2"))
_PARTS = [f"{layer}/{part}" for layer in _LAYERS for part in ("weights", "biases")]
_NAMES = {_COUNT, _MEAN, _SQUARES, _LOG_STD, *_PARTS}
# Their normaliser: deviations are clipped at 5, variances have a floor, roots another.
_CLIP = 5.0
_VARIANCE_FLOOR = 1e-4
_STD_FLOOR = 1e-8
# Half widths of their observation space, by which observations are divided before all else. A rate
# may be one turn per simulation step of 1 ms, so that rates come out in the ten-thousandths, where
# the floor of the variance all but hides them.
_ANGLE_BOUND = 2.0 * math.pi + 0.01
_RATE_BOUND = 2.0 * math.pi / 0.001 + 0.01
_ATTITUDE = ("roll_pitch", "world_roll_pitch_rate")
_ATTITUDE_BOUNDS = (_ANGLE_BOUND, _ANGLE_BOUND, _RATE_BOUND, _RATE_BOUND)
# The reference of ``MinitaurTrottingEnv``, about the stance: all at once, without a ramp.
_TROT_OF_THE_PAPER = Gait(
    name="trot_of_the_paper",
    frequency_hz=2.0,
    swing_amplitude_rad=0.3,
    extension_amplitude_rad=0.35,
    leg_phase=(0.0, 0.5, 0.5, 0.0),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A policy of ``pybullet_data``.

    Attributes:
        folder: Where its checkpoint lies under ``pybullet_data/policies/ppo``.
        bounds: Half width of their observation space, shape (O,), in the network's order.
        terms: What it sees, in the terms of this stack.
        scale_rad: What an action of 1 means.
        gait: What the action is added to.
    """

    folder: str
    bounds: tuple[float, ...]
    terms: tuple[str, ...]
    scale_rad: float
    gait: Gait

    @property
    def checkpoint(self) -> Path:
        """Prefix of the checkpoint's files on this machine."""
        return data_folder() / "policies" / "ppo" / self.folder / _CHECKPOINT

    @property
    def contract(self) -> Contract:
        """What it sees and how its output becomes motor angles."""
        return Contract(
            observation=tuple(ObservationTerm(term) for term in self.terms),
            action=ActionSpec((self.scale_rad,) * NUM_MOTORS, lowpass_hz=0.0, gait=self.gait),
            control_period_s=0.006,
            kp=1.0,
            kd=0.015,
            provenance={"source": f"pybullet_data/policies/ppo/{self.folder}/{_CHECKPOINT}"},
        )

    def snapshot(self) -> PolicySnapshot:
        """Return the network; its normaliser becomes one mean and deviation of raw observations.

        Raises:
            PeerError: The checkpoint is not there or not what was expected.
        """
        return fold(read_tensors(self.checkpoint, _NAMES.__contains__), np.array(self.bounds))


def fold(tensors: Mapping[str, NDArray[Any]], bounds: NDArray[np.float64]) -> PolicySnapshot:
    """Return a peer's network with both of its normalisers as one.

    They compute ``clip((o / bound - mean) / (sqrt(squares / (count - 1) + 1e-4) + 1e-8), +-5)``.

    Raises:
        PeerError: The sizes do not fit.
    """
    if absent := _NAMES - set(tensors):
        raise PeerError(f"the checkpoint has no variables {sorted(absent)}")
    mean = tensors[_MEAN].astype(np.float64)
    if mean.shape != bounds.shape:
        raise PeerError(f"the normaliser has {mean.size} observations, expected {bounds.size}")
    variance = tensors[_SQUARES].astype(np.float64) / (int(tensors[_COUNT]) - 1)
    std = np.sqrt(variance + _VARIANCE_FLOOR) + _STD_FLOOR
    return PolicySnapshot(
        normaliser=Normaliser(
            (mean * bounds).astype(np.float32), (std * bounds).astype(np.float32), _CLIP
        ),
        layers=tuple(
            (np.ascontiguousarray(tensors[f"{layer}/weights"].T), tensors[f"{layer}/biases"])
            for layer in _LAYERS
        ),
        activation="relu",
        action_std=np.exp(tensors[_LOG_STD]),
    )


PEERS: dict[str, Peer] = {
    "peer-trot": Peer(
        "minitaur_trotting_env", _ATTITUDE_BOUNDS, _ATTITUDE, 0.25, _TROT_OF_THE_PAPER
    ),
    "peer-gallop": Peer(
        "minitaur_reactive_env",
        _ATTITUDE_BOUNDS + (_ANGLE_BOUND,) * NUM_MOTORS,
        (*_ATTITUDE, "motor_position"),
        0.5,
        stance(),
    ),
}


# ---- The standing robot

STANDING = "standing"


def zero_network(inputs: int) -> PolicySnapshot:
    """Return a network of one layer of zeros, whose action is zero whatever it sees."""
    return PolicySnapshot(
        normaliser=Normaliser(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 5.0),
        layers=((np.zeros((NUM_MOTORS, inputs), np.float32), np.zeros(NUM_MOTORS, np.float32)),),
        activation="relu",
        action_std=np.zeros(NUM_MOTORS, np.float32),
    )


# It holds the stance: the floor of the push curve.
STANDING_CONTRACT = Contract(
    observation=(ObservationTerm("roll_pitch"),),
    action=ActionSpec(scale_rad=(0.0,) * NUM_MOTORS, lowpass_hz=0.0, gait=stance()),
    provenance={"source": "the stance of robot_firmware_bridge.robot, held"},
)

# ---- Policy files

# Everyone who is made and not trained, in the order of the tables.
MADE = (STANDING, *PEERS)


def write_made(name: str, path: Path) -> None:
    """Write a policy of ``MADE`` as a policy file.

    Raises:
        PeerError: A checkpoint cannot be read.
    """
    if name == STANDING:
        snapshot, contract = zero_network(2), STANDING_CONTRACT
    else:
        snapshot, contract = PEERS[name].snapshot(), PEERS[name].contract
    write_policy(snapshot.layers, snapshot.normaliser, contract, path)


def write_all(out: Path = Path("build/peers")) -> int:
    """Write the policies that ship with PyBullet, and the standing robot, as policy files.

    Args:
        out: Folder to write them to.
    """
    for name in MADE:
        write_made(name, out / f"{name}.onnx")
        print(f"wrote {out / name}.onnx; try: make run POLICY={out / name}.onnx")
    return EXIT_OK


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return tyro.cli(write_all, args=arguments, prog="python -m studies.peers")


if __name__ == "__main__":
    sys.exit(main())
