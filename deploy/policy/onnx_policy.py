"""A policy file as a function: observation in, action out, in a few microseconds.

The ONNX file carries its contract in its metadata and its normaliser in its graph; whatever does
not fit the robot is refused here, before a motor is armed. Imports onnxruntime, never torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import policies
from deploy.errors import ContractError, PolicyError
from deploy.policy.contract import METADATA_KEY, Contract
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, RobotDescription

INPUT_NAME = "observation"
OUTPUT_NAME = "action"

Float32 = NDArray[np.float32]


class OnnxPolicy:
    """A policy in onnxruntime on one CPU thread, with its buffers bound once.

    Binding saves a third of a call (4 instead of 6 us for a 12-185-95-8 network on a 2-core VM).
    Build it with :meth:`load`.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, contract: Contract, observation_size: int
    ) -> None:
        self.contract = contract
        self._session = session
        self._observation: Float32 = np.zeros((1, observation_size), np.float32)
        self._action: Float32 = np.zeros((1, NUM_MOTORS), np.float32)
        self._binding = session.io_binding()
        self._binding.bind_input(
            INPUT_NAME, "cpu", 0, np.float32, self._observation.shape, self._observation.ctypes.data
        )
        self._binding.bind_output(
            OUTPUT_NAME, "cpu", 0, np.float32, self._action.shape, self._action.ctypes.data
        )

    @staticmethod
    def load(path: Path | str, robot: RobotDescription = MINITAUR) -> OnnxPolicy:
        """Open a policy file, check that it fits the robot and run it once to warm it up.

        ``path`` may be the name of a shipped policy, such as ``trot``.

        Raises:
            PolicyError: No such file, not a readable ONNX file, or not a policy of this stack.
            ContractError: The contract, or the graph's shape, does not fit this robot.
        """
        path = policies.find(path)
        session = _open(path)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise PolicyError(
                f"{path} carries no contract ({METADATA_KEY!r}): a foreign ONNX file; "
                "write policies with `make export`"
            )
        try:
            contract = Contract.from_json(text)
            observation_size = Pipeline(contract, robot).observation_size
        except ContractError as error:
            raise ContractError(f"{path}: {error}") from error
        _check_signature(path, session, observation_size)
        policy = OnnxPolicy(session, contract, observation_size)
        policy(np.zeros(observation_size, np.float32))
        return policy

    def __call__(self, observation: Float32) -> Float32:
        """Return the action for an observation (O,): shape (8,), valid until the next call.

        Raises:
            PolicyError: onnxruntime failed.
        """
        self._observation[0] = observation
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's errors share no root of their own
            raise PolicyError(f"inference failed: {_one_line(error)}") from error
        action: Float32 = self._action[0]
        return action


def _open(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        shipped = ", ".join(policies.names())
        raise PolicyError(f"no policy file {path}; shipped policies: {shipped}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A spinning thread pool would steal the core from the loop between two ticks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # every cause is in the exception; keep stderr for our line
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no root of their own
        raise PolicyError(
            f"{path} is not a readable ONNX file (truncated?): {_one_line(error)}"
        ) from error


def _check_signature(
    path: Path, session: onnxruntime.InferenceSession, observation_size: int
) -> None:
    """Refuse a graph that is not one float32 observation in, one float32 action out."""
    sides = (
        ("input", INPUT_NAME, session.get_inputs(), observation_size),
        ("output", OUTPUT_NAME, session.get_outputs(), NUM_MOTORS),
    )
    for side, name, found, size in sides:
        if [value.name for value in found] != [name]:
            raise ContractError(
                f"{path}: {side}s are {[value.name for value in found]}, expected [{name!r}]"
            )
        (value,) = found
        if value.type != "tensor(float)":
            raise ContractError(f"{path}: {side} {name!r} is {value.type}, expected float32")
        shape = list(value.shape)
        batch_fits = len(shape) == 2 and (shape[0] == 1 or not isinstance(shape[0], int))
        if not batch_fits or shape[1] != size:
            raise ContractError(
                f"{path}: {side} {name!r} has shape {shape}, the contract needs [1 or N, {size}]"
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
