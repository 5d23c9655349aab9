"""A contract, a gait of round numbers, and ONNX files for them."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.policy.contract import METADATA_KEY, ActionSpec, Contract, ObservationTerm
from deploy.policy.controller import Controller
from deploy.policy.gait import Gait, stance
from deploy.policy.onnx_file import sealed


@pytest.fixture
def contract():
    return Contract(
        observation=(
            ObservationTerm("roll_pitch"),
            ObservationTerm("roll_pitch_rate", scale=0.1, clip=5.0),
        ),
        action=ActionSpec(scale_rad=(0.25,) * 8, lowpass_hz=0.0, gait=stance()),
    )


@pytest.fixture
def gait():
    """A trot of round numbers, about the stance and with swing and extension in step."""
    return Gait(
        name="test",
        frequency_hz=2.0,
        swing_amplitude_rad=0.3,
        extension_amplitude_rad=0.35,
        extension_centre_rad=2.0,
        swing_lead=0.0,
        leg_phase=(0.0, 0.5, 0.5, 0.0),
        ramp_s=0.25,
    )


@pytest.fixture
def on_inference(monkeypatch):
    """Makes something happen just before the n-th inference of a run."""

    def arrange(number, act):
        infer, calls = Controller.infer, itertools.count(1)

        def acting(controller, observation):
            if next(calls) == number:
                act()
            return infer(controller, observation)

        monkeypatch.setattr(Controller, "infer", acting)

    return arrange


@pytest.fixture
def write_policy(tmp_path, contract):
    """Writes the policy ``action = observation @ weight + bias`` and returns its path."""
    whole = contract.to_json()

    def write(
        name="policy.onnx",
        text=whole,
        size=4,
        outputs=8,
        weight=0.0,
        bias=0.0,
        batch="N",
        input_name="observation",
        element=TensorProto.FLOAT,
    ):
        dtype = helper.tensor_dtype_to_np_dtype(element)
        graph = helper.make_graph(
            [helper.make_node("Gemm", [input_name, "weight", "bias"], ["action"])],
            "policy",
            [helper.make_tensor_value_info(input_name, element, [batch, size])],
            [helper.make_tensor_value_info("action", element, [batch, outputs])],
            [
                numpy_helper.from_array(np.full((size, outputs), weight, dtype), "weight"),
                numpy_helper.from_array(np.full(outputs, bias, dtype), "bias"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        if text is not None:
            helper.set_model_props(model, {METADATA_KEY: text})
        path = tmp_path / name
        path.write_bytes(sealed(model.SerializeToString()))
        return path

    return write
