"""The bytes of a policy file, checked before anything runs them.

A policy file is an ONNX model that

- ends in its seal: a metadata entry with the SHA-256 of all bytes before it. A file of which one
  bit differs is refused;
- carries its contract as a metadata entry;
- holds a perceptron and nothing else: a chain of the operators in ``OPERATORS`` whose constants are
  all in the file, each used once. Its time and its memory are therefore bounded by the size of the
  file, whatever the robot observes. An operator such as Loop or Expand could run for ever, or ask
  for gigabytes.

The reader understands as much of the protobuf encoding as these files need, and refuses the rest.
A robot computer therefore does not need the onnx package. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.errors import PolicyError
from deploy.policy.contract import METADATA_KEY

DIGEST_KEY = "minitaur_policy_sha256"
INPUT_NAME = "observation"
OUTPUT_NAME = "action"
# Some 4 million weights: what one core evaluates in about a control period.
MAX_BYTES = 16 << 20
MAX_NODES = 64

# What is applied to each number, with how many constants; and the linear layer.
_ELEMENTWISE = {"Sub": 1, "Div": 1, "Clip": 2, "Relu": 0, "Tanh": 0, "Identity": 0}
_LINEAR = "Gemm"
OPERATORS = (*_ELEMENTWISE, _LINEAR)

# Fields of each message that a policy file may have, by number.
_MODEL = {
    1: "ir_version",
    2: "producer_name",
    3: "producer_version",
    4: "domain",
    5: "model_version",
    6: "doc_string",
    7: "graph",
    8: "opset_import",
    14: "metadata_props",
}
_ENTRY = {1: "key", 2: "value"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 10: "doc_string", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 6: "doc_string"}
_ATTRIBUTE = {1: "name", 3: "i", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_FLOAT = 1  # TensorProto.DataType

_HEX_DIGITS = 64


def _entry(key: str, value_size: int) -> bytes:
    """Return a metadata entry of a model, up to its value of ``value_size`` bytes."""
    inner = b"\x0a" + bytes([len(key)]) + key.encode() + b"\x12" + bytes([value_size])
    return b"\x72" + bytes([len(inner) + value_size]) + inner


_SEAL = _entry(DIGEST_KEY, _HEX_DIGITS)
_SEAL_SIZE = len(_SEAL) + _HEX_DIGITS


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file holds.

    Attributes:
        contract: The contract as JSON text.
        sizes: Inputs of the network, then the outputs of each linear layer.
        digest: SHA-256 over the file without its seal, 64 hex digits.
    """

    contract: str
    sizes: tuple[int, ...]
    digest: str


def sealed(model: bytes) -> bytes:
    """Return the bytes of an ONNX model as those of a policy file: with the seal at their end."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


def read_policy_file(data: bytes) -> PolicyFile:
    """Check the bytes of a policy file and return what it holds.

    Raises:
        PolicyError: Not whole, damaged, without a contract, or not a perceptron.
    """
    model, seal = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if not seal.startswith(_SEAL):
        raise PolicyError(
            "not a whole policy file, for it does not end in its digest: cut off, a foreign file, "
            "or from an older version; write policies with `make export`"
        )
    digest, written = hashlib.sha256(model).hexdigest(), seal[len(_SEAL) :]
    if digest.encode() != written:
        raise PolicyError(
            f"damaged: its SHA-256 begins with {digest[:12]}, in the file stands "
            f"{written[:12].decode('ascii', 'replace')!a}: copy it again, or export it again "
            "(make export)"
        )
    fields = _message(model, _MODEL, "the model")
    texts = [
        _text(entry, "value")
        for entry in (_message(_bytes(raw), _ENTRY, "metadata") for raw in fields["metadata_props"])
        if _text(entry, "key") == METADATA_KEY
    ]
    if len(texts) != 1:
        raise PolicyError(
            f"it has {len(texts)} contracts ({METADATA_KEY!r}), not one; "
            "write policies with `make export`"
        )
    return PolicyFile(texts[0], _sizes(_bytes(_one(fields, "graph"))), digest)


def _sizes(graph: bytes) -> tuple[int, ...]:
    """Follow the perceptron from observation to action; return its sizes."""
    fields = _message(graph, _GRAPH, "the graph")
    shapes = dict(_shape(_bytes(raw)) for raw in fields["initializer"])
    if len(fields["node"]) > MAX_NODES:
        raise PolicyError(f"it has {len(fields['node'])} nodes, at most {MAX_NODES} are allowed")
    at, sizes = INPUT_NAME, list[int]()

    def fits(shape: tuple[int, ...]) -> bool:
        """Whether a constant has one value for each number, or one for all of them."""
        if not sizes and len(shape) == 1:
            sizes.append(shape[0])
        return shape in ((), (*sizes[-1:],))

    for i, raw in enumerate(fields["node"]):
        node = _message(_bytes(raw), _NODE, f"node {i}")
        operator = _text(node, "op_type")
        if operator not in OPERATORS:
            raise PolicyError(
                f"node {i} is {operator[:40]!a}: a policy is a perceptron of "
                f"{', '.join(OPERATORS)} only, so that its time and memory are known; write it "
                "with training.export.write_policy"
            )
        where = f"node {i} ({operator})"
        before, *constants = [_decoded(_bytes(name), where) for name in node["input"]] or [""]
        wanted = [shapes.pop(name) for name in constants if name in shapes]  # each is used once
        if before != at or len(wanted) != len(constants):
            raise PolicyError(f"{where} does not take {at[:40]!a} and constants of its own")
        if operator == _LINEAR:
            sizes += _linear(wanted, _transposed(node, where), sizes, where)
        elif len(wanted) != _ELEMENTWISE[operator] or not all(fits(shape) for shape in wanted):
            raise PolicyError(f"{where} has constants of the shapes {wanted}, which do not fit")
        elif node["attribute"]:
            raise PolicyError(f"{where} has attributes")
        at = _text(node, "output")
    if at != OUTPUT_NAME:
        raise PolicyError(f"the last node gives {at[:40]!a}, not {OUTPUT_NAME!r}")
    return tuple(sizes)


def _linear(
    constants: list[tuple[int, ...]], transposed: bool, sizes: list[int], where: str
) -> list[int]:
    """Return the sizes that a linear layer adds: its outputs, and its inputs if it is the first."""
    if [len(shape) for shape in constants] == [2, 1]:
        inputs, outputs = constants[0][::-1] if transposed else constants[0]
        if constants[1] == (outputs,) and sizes[-1:] in ([], [inputs]):
            return [outputs] if sizes else [inputs, outputs]
    raise PolicyError(f"{where} has constants of the shapes {constants}, which do not fit")


def _transposed(node: Mapping[str, list[int | bytes]], where: str) -> bool:
    """Return whether a linear layer's weight is (outputs, inputs); it may have no other option."""
    options = {}
    for raw in node["attribute"]:
        attribute = _message(_bytes(raw), _ATTRIBUTE, where)
        options[_text(attribute, "name")] = _one(attribute, "i")
    if not options.keys() <= {"transB"}:
        raise PolicyError(f"{where} has attributes other than transB")
    return bool(options.get("transB", 0))


def _shape(tensor: bytes) -> tuple[str, tuple[int, ...]]:
    """Return name and shape of a constant whose values are all in the file."""
    fields = _message(tensor, _TENSOR, "a constant")
    name, shape = _text(fields, "name"), tuple(_int(size) for size in fields["dims"])
    if _one(fields, "data_type") != _FLOAT:
        raise PolicyError(f"constant {name[:40]!a} is not float32")
    if len(_bytes(_one(fields, "raw_data"))) != 4 * math.prod(shape) or 0 in shape:
        raise PolicyError(f"constant {name[:40]!a} does not hold the values of its shape {shape}")
    return name, shape


# ---- The protobuf encoding: https://protobuf.dev/programming-guides/encoding/


def _message(data: bytes, known: Mapping[int, str], what: str) -> dict[str, list[int | bytes]]:
    """Return the values of every known field of a message, in order, by name."""
    found: dict[str, list[int | bytes]] = {name: [] for name in known.values()}
    for number, value in _fields(data, what):
        if number not in known:
            raise PolicyError(f"not a policy file: {what} has field {number}, which no policy has")
        found[known[number]].append(value)
    return found


def _fields(data: bytes, what: str) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: an integer, or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while shift < 64 and at < len(data):
            byte = data[at]
            value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                return value
        raise PolicyError(f"not a policy file: {what} ends within a number")

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
        elif kind == 2:
            size = varint()
            if size > len(data) - at:
                raise PolicyError(f"not a policy file: {what} ends within a field")
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise PolicyError(f"not a policy file: {what} has a field of wire type {kind}")


def _one(fields: Mapping[str, list[int | bytes]], name: str) -> int | bytes:
    """Return the value of a field that must be there once."""
    values = fields[name]
    if len(values) != 1:
        raise PolicyError(f"not a policy file: {name} is there {len(values)} times, not once")
    return values[0]


def _text(fields: Mapping[str, list[int | bytes]], name: str) -> str:
    return _decoded(_bytes(_one(fields, name)), name)


def _decoded(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(f"not a policy file: {what} is not UTF-8") from error


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise PolicyError("not a policy file: a number is where bytes should be")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise PolicyError("not a policy file: bytes are where a number should be")
    return value
