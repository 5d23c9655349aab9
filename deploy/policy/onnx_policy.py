"""A policy file as a function: observation in, action out, in a few microseconds.

The ONNX file carries its contract in its metadata and its normaliser in its graph; whatever does
not fit the robot, or is too slow for its control period on this computer, is refused here, before a
motor is armed. Imports onnxruntime, never torch.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import policies
from deploy.errors import ContractError, PolicyError
from deploy.policy.contract import Contract
from deploy.policy.onnx_file import (
    INPUT_NAME,
    MAX_BYTES,
    OUTPUT_NAME,
    PolicyFile,
    read_policy_file,
)
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.robot import MINITAUR, RobotDescription

# Calls that are timed when a policy is loaded, and the time after which no other one is.
_TIMED_CALLS = 21
_TIMED_S = 1.0

Float32 = NDArray[np.float32]


class OnnxPolicy:
    """A policy in onnxruntime on one CPU thread, with its buffers bound once.

    Binding saves a third of a call (4 instead of 6 us for a 12-185-95-8 network on a 2-core VM).
    Build it with :meth:`load`.

    Attributes:
        contract: The contract of the file.
        digest: SHA-256 over the file without its seal, 64 hex digits.
        sizes: Inputs of the network, then the outputs of each linear layer.
        inference_s: Median time of a call when the policy was loaded.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        contract: Contract,
        file: PolicyFile,
        observation_size: int,
    ) -> None:
        self.contract, self.digest, self.sizes = contract, file.digest, file.sizes
        self._session = session
        self._observation: Float32 = np.zeros((1, observation_size), np.float32)
        self._action: Float32 = np.zeros((1, contract.action.size), np.float32)
        self._binding = session.io_binding()
        self._binding.bind_input(
            INPUT_NAME, "cpu", 0, np.float32, self._observation.shape, self._observation.ctypes.data
        )
        self._binding.bind_output(
            OUTPUT_NAME, "cpu", 0, np.float32, self._action.shape, self._action.ctypes.data
        )
        self.inference_s = self._timed()

    @staticmethod
    def load(path: Path | str, robot: RobotDescription = MINITAUR) -> OnnxPolicy:
        """Open a policy file, check that it is whole and fits the robot, warm it up and time it.

        ``path`` may be the name of a shipped policy, such as ``trot``.

        Raises:
            PolicyError: No such file, damaged, not a policy of this stack, or slower than its
                control period on this computer.
            ContractError: The contract, or the graph's shape, does not fit this robot.
        """
        path = policies.find(path)
        data = _read(path)
        try:
            file = read_policy_file(data)
            contract = Contract.from_json(file.contract)
            observation_size = Pipeline(contract, robot).observation_size
            session = _open(data)
            _check_signature(session, observation_size, contract.action.size)
            policy = OnnxPolicy(session, contract, file, observation_size)
        except (ContractError, PolicyError) as error:
            raise type(error)(f"{path}: {error}") from error
        if policy.inference_s > contract.control_period_s:
            raise PolicyError(
                f"{path}: one inference of its network takes {policy.inference_s * 1e3:.1f} ms on "
                f"this computer, its control period is {contract.control_period_s * 1e3:g} ms: use "
                "a smaller network or a faster computer"
            )
        return policy

    def __call__(self, observation: Float32) -> Float32:
        """Return the action for an observation (O,): shape (A,), valid until the next call.

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

    def _timed(self) -> float:
        """Return the median time of a call, in s, after one that warms the network up."""
        still = np.zeros_like(self._observation[0])
        self(still)
        times: list[float] = []
        while len(times) < _TIMED_CALLS and sum(times) < _TIMED_S:
            start_s = time.perf_counter()
            self(still)
            times.append(time.perf_counter() - start_s)
        return statistics.median(times)


def _read(path: Path) -> bytes:
    """Return the bytes of a policy file."""
    if not path.is_file():
        shipped = ", ".join(policies.names())
        what = f"{path} is no regular file" if path.exists() else f"no policy file {path}"
        raise PolicyError(f"{what}; shipped policies: {shipped}")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{path}: larger than {MAX_BYTES >> 20} MiB, which no policy is")
    return data


def _open(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A spinning thread pool would steal the core from the loop between two ticks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # every cause is in the exception; keep stderr for our line
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no root of their own
        raise PolicyError(f"onnxruntime cannot read it: {_one_line(error)}") from error


def _check_signature(
    session: onnxruntime.InferenceSession, observation_size: int, action_size: int
) -> None:
    """Refuse a graph that is not one float32 observation in, one float32 action out."""
    sides = (
        ("input", INPUT_NAME, session.get_inputs(), observation_size),
        ("output", OUTPUT_NAME, session.get_outputs(), action_size),
    )
    for side, name, found, size in sides:
        if [value.name for value in found] != [name]:
            raise ContractError(
                f"{side}s are {[value.name for value in found]}, expected [{name!r}]"
            )
        (value,) = found
        if value.type != "tensor(float)":
            raise ContractError(f"{side} {name!r} is {value.type}, expected float32")
        shape = list(value.shape)
        batch_fits = len(shape) == 2 and (shape[0] == 1 or not isinstance(shape[0], int))
        if not batch_fits or shape[1] != size:
            raise ContractError(
                f"{side} {name!r} has shape {shape}, the contract needs [1 or N, {size}]"
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
