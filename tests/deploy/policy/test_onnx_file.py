"""The bytes of a policy file: one changed bit is refused, and so is what is no perceptron."""

import dataclasses
import itertools

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.processes import ROOT

from deploy.errors import DeployError, PolicyError
from deploy.policy.contract import METADATA_KEY
from deploy.policy.onnx_file import MAX_BYTES, MAX_NODES, read_policy_file, sealed
from deploy.policy.onnx_policy import OnnxPolicy

TROT = (ROOT / "policies" / "trot.onnx").read_bytes()
MODEL = TROT[:-92]  # a tag, a length, and an entry of 2 + 22 + 2 + 64 bytes


def constant(name, *shape):
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.fixture
def write(tmp_path, contract):
    """Writes a sealed file with these nodes, and constants by name and shape."""

    def write(nodes, period_s=contract.control_period_s, change=lambda model: None, **shapes):
        constants = [constant(name, *shape) for name, shape in shapes.items()]
        ends = [value("observation", "N", 4)], [value("action", "N", 8)]
        graph = helper.make_graph(nodes, "policy", *ends, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        text = dataclasses.replace(contract, control_period_s=period_s).to_json()
        helper.set_model_props(model, {METADATA_KEY: text})
        change(model)
        path = tmp_path / "policy.onnx"
        path.write_bytes(sealed(model.SerializeToString()))
        return path

    return write


def refused(path, message):
    with pytest.raises(PolicyError, match=message) as caught:
        OnnxPolicy.load(path)
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)


def flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@settings(max_examples=300)
@given(at=st.integers(0, len(TROT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(at, bit):
    with pytest.raises(PolicyError):
        read_policy_file(flipped(TROT, at, bit))


def test_each_flipped_bit_of_the_seal_is_refused():
    for at, bit in itertools.product(range(len(MODEL), len(TROT)), range(8)):
        with pytest.raises(PolicyError, match=r"damaged|does not end in its digest"):
            read_policy_file(flipped(TROT, at, bit))


@pytest.mark.parametrize("change", [-1, -92, -93, -5000, 1])
def test_a_file_cut_off_or_longer_is_refused(change):
    with pytest.raises(PolicyError, match="does not end in its digest"):
        read_policy_file(TROT[:change] if change < 0 else TROT + b"\0")


def test_a_flipped_bit_in_the_weights_is_refused_by_name(tmp_path):
    path = tmp_path / "trot.onnx"
    path.write_bytes(flipped(TROT, len(TROT) // 2, 6))
    refused(path, "damaged: its SHA-256 begins with .*: copy it again, or export it again")


def test_a_file_of_an_older_version_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "trot.onnx"
    path.write_bytes(MODEL)
    refused(path, "not a whole policy file.*from an older version; write policies with `make exp")


def test_the_seal_is_metadata_of_the_model_and_the_network_is_read():
    model, file = onnx.load_model_from_string(TROT), read_policy_file(TROT)
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert props == {METADATA_KEY: file.contract, "minitaur_policy_sha256": file.digest}
    weights = [array for array in map(numpy_helper.to_array, model.graph.initializer)]
    layers = [array.shape for array in weights if array.ndim == 2]
    assert file.sizes == (layers[0][1], *(outputs for outputs, _ in layers))
    assert sealed(MODEL) == TROT


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed_before_sealing_raises_only_errors_of_this_floor(tmp_path, data):
    model = bytearray(MODEL)
    structure = st.integers(0, 400) | st.integers(len(model) - 2000, len(model) - 1)
    for at in data.draw(st.lists(structure, min_size=1, max_size=3)):
        model[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.onnx"
    path.write_bytes(sealed(bytes(model)))
    try:
        OnnxPolicy.load(path)
    except DeployError as error:
        message = str(error)
        assert "\n" not in message


def endless(_model=None):
    """A node that repeats the identity for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value("x", "N", 4),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), value("y", "N", 4)],
    )
    return helper.make_node("Loop", ["", "", "observation"], ["looped"], body=body)


def node(operator, *inputs, to="action", **attributes):
    return helper.make_node(operator, list(inputs), [to], **attributes)


LAYER = {"weight": (4, 8), "bias": (8,)}
GEMM = node("Gemm", "observation", "weight", "bias")
FIRST = node("Gemm", "observation", "weight", "bias", to="first")


@pytest.mark.parametrize(
    ("nodes", "shapes", "message"),
    [
        ([endless(), node("Gemm", "looped", "weight", "bias")], LAYER, "node 0 is 'Loop'"),
        ([node("Expand", "observation", "shape")], {"shape": (2,)}, "node 0 is 'Expand'"),
        ([node("ConstantOfShape", "shape")], {"shape": (2,)}, "node 0 is 'ConstantOfShape'"),
        ([node("Gemm", "observation", "weight", "absent")], LAYER, "does not take 'observation'"),
        ([node("Gemm", "weight", "bias")], LAYER, "does not take 'observation'"),
        ([FIRST, node("Sub", "first", "bias")], LAYER, r"node 1 \(Sub\) does not take 'first'"),
        ([node("Gemm", "observation", "weight")], {"weight": (4, 8)}, r"\[\(4, 8\)\], which"),
        ([FIRST], LAYER, "the last node gives 'first', not 'action'"),
        ([node("Gemm", "observation", "weight", "bias", alpha=2.0)], LAYER, "field of wire type 5"),
        ([node("Gemm", "observation", "weight", "bias", transA=1)], LAYER, "other than transB"),
        ([node("Gemm", "observation", "weight", "bias", transB=1)], LAYER, "which do not fit"),
        ([FIRST, node("Sub", "first", "wide")], {**LAYER, "wide": (8, 1)}, r"\[\(8, 1\)\], which"),
        ([FIRST, node("Sub", "first", "wide")], {**LAYER, "wide": (9,)}, r"\[\(9,\)\], which"),
        ([FIRST, node("Clip", "first", "low")], {**LAYER, "low": ()}, r"\[\(\)\], which"),
        ([node("Relu", "observation")] * (MAX_NODES + 1), {}, "has 65 nodes, at most 64"),
    ],
)  # fmt: skip
def test_what_is_no_perceptron_is_refused_before_it_runs(write, nodes, shapes, message):
    refused(write(nodes, **shapes), message)


def claims_more(model):
    model.graph.initializer[0].dims[0] = 2**40


def calls_a_function(model):
    model.functions.add(name="f", domain="d")


def is_sparse(model):
    model.graph.sparse_initializer.add()


def is_elsewhere(model):
    model.graph.initializer[0].external_data.add(key="location", value="/dev/zero")


def has_two_contracts(model):
    model.metadata_props.add(key=METADATA_KEY, value="{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (claims_more, "constant 'weight' does not hold the values of its shape"),
        (calls_a_function, "the model has field 25"),
        (is_sparse, "the graph has field 15"),
        (is_elsewhere, "a constant has field 13"),
        (has_two_contracts, "it has 2 contracts"),
    ],
)
def test_what_is_not_in_the_file_itself_is_refused(write, change, message):
    assert OnnxPolicy.load(write([GEMM], **LAYER)).sizes == (4, 8)
    refused(write([GEMM], change=change, **LAYER), message)


def test_a_network_slower_than_its_control_period_is_refused(write):
    """A hundred thousand tanh, fifty times: some 20 ms where 1 ms is allowed."""
    names = ["first", *(f"h{i}" for i in range(50))]
    tanh = [node("Tanh", before, to=after) for before, after in itertools.pairwise(names)]
    nodes = [FIRST, *tanh, node("Gemm", names[-1], "weight2", "bias2")]
    shapes = {"weight": (4, 100_000), "bias": (100_000,), "weight2": (100_000, 8), "bias2": (8,)}
    path = write(nodes, period_s=0.001, **shapes)
    refused(path, "one inference of its network takes .* ms on this computer, its .* is 1 ms")


def test_a_file_of_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(1000 * MAX_BYTES)
    refused(path, "larger than 16 MiB")
