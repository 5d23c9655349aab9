"""Export: a policy as one ONNX file that explains itself.

:func:`write_policy` writes any perceptron in plain arrays, whoever trained it, and needs no torch;
``docs/train.md`` brings a stable-baselines3 policy to the robot with it. :func:`export` does so for
a run of this stack. The graph is built layer by layer from the arrays: it holds the normaliser, the
linear layers and the nonlinearities, and nothing else. Before a file takes its name, the loader of
the deploy floor opens it, and :func:`export` compares it with the trained torch network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import onnx
import tyro
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deploy.files import prove_writable
from deploy.policy.contract import METADATA_KEY, Contract
from deploy.policy.onnx_file import INPUT_NAME, OUTPUT_NAME, sealed
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import term_resolution, term_slices
from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.installed import versions
from training.errors import ExportError
from training.rollout.episode import Stream
from training.rollout.policy import Normaliser, NumpyPolicy, PolicySnapshot
from training.rollout.samplers import EpisodeRunner, RolloutSpec
from training.runs.config import config_to_json
from training.runs.folder import newest_run

if TYPE_CHECKING:
    from training.runs.checkpoint import LoadedPolicy

Array = NDArray[np.float32]

# Largest difference between torch and onnxruntime, over all actions, that is only rounding.
TOLERANCE = 1e-5
_OPSET = 17
_RANDOM_OBSERVATIONS = 1000
_RECORDED_EPISODES = 2


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The policy file.
        contract: The contract in it.
        max_difference: Largest difference to torch on random and recorded observations.
        observations: How many observations were compared.
    """

    path: Path
    contract: Contract
    max_difference: float
    observations: int


def export(source: Path, out: Path) -> Exported:
    """Write the policy of a run folder, or of a checkpoint, to an ONNX file.

    Raises:
        CheckpointError: The source holds no usable checkpoint.
        ExportError: The task has no robot contract, or onnxruntime disagrees with torch.
    """
    from training.runs.checkpoint import load_policy  # torch comes with it

    loaded = load_policy(source)
    config, policy = loaded.config, loaded.policy
    with contextlib.closing(EpisodeRunner(RolloutSpec.of(config))) as runner:
        env = runner.env(Stream.EVALUATION)
        base = getattr(env.unwrapped, "contract", None)
        if not isinstance(base, Contract):
            raise ExportError(
                f"task {config.task} has no robot contract: only Minitaur tasks can be exported"
            )
        observations = np.concatenate(
            [_random_observations(policy), *_recorded_observations(env, policy)]
        )
    contract = dataclasses.replace(base, provenance=_provenance(loaded, env))
    prove_writable(out)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        draft, layers = Path(folder, out.name), policy.layers
        write_policy(layers, policy.normaliser, contract, draft, activation=policy.activation)
        deployed = OnnxPolicy.load(draft)
        ours = np.stack([deployed(row).copy() for row in observations])
        difference = float(np.abs(ours - loaded.in_torch(observations)).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"onnxruntime and torch differ by {difference:.2e}, more than {TOLERANCE}: "
                "not written"
            )
        draft.replace(out)
    return Exported(out, contract, difference, len(observations))


def write_policy(
    weights: Sequence[tuple[Array, Array]],
    normaliser: Normaliser,
    contract: Contract,
    path: Path,
    *,
    activation: Literal["relu", "tanh"] = "relu",
    squash: bool = True,
) -> None:
    """Write a perceptron in plain arrays as a policy file; equal arrays give equal bytes.

    An observation term that hardly varied in training is a ``UserWarning`` that names it.

    Args:
        weights: Weight (outputs, inputs) and bias (outputs,) of each layer, first to last.
        normaliser: Scales a raw observation before the first layer.
        contract: What the network sees and what its output means.
        path: File to write; its folder is made if need be.
        activation: Nonlinearity between the layers.
        squash: Whether a tanh follows the last layer. Without it the controller clips the output.

    Raises:
        ContractError: The arrays do not fit the contract, or the contract does not fit the robot.
        PolicyError: The network does not run.
        OSError: The file cannot be written.
    """
    prove_writable(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # beside it: a rename is atomic
        draft = Path(folder, path.name)
        model = _model(weights, normaliser, contract, activation, squash)
        draft.write_bytes(sealed(model.SerializeToString()))
        OnnxPolicy.load(draft)
        draft.replace(path)
    for problem in _still_terms(normaliser, contract):
        warnings.warn(problem, stacklevel=2)


def _still_terms(normaliser: Normaliser, contract: Contract) -> list[str]:
    """Describe every observation term of which a component hardly varied in training."""
    found, resolution = [], term_resolution(contract).astype(np.float32)
    for term, where in zip(contract.observation, term_slices(contract), strict=True):
        still = normaliser.std[where] <= resolution[where]
        if still.any():
            found.append(
                f"observation term {term.name!r} hardly varied in training, by no more than the "
                f"{resolution[where][still][0]:.2g} that noise may reach on a robot: train where "
                "it varies, or leave the term out"
            )
    return found


def _model(
    weights: Sequence[tuple[Array, Array]],
    normaliser: Normaliser,
    contract: Contract,
    activation: str,
    squash: bool,
) -> onnx.ModelProto:
    """Build the ONNX model, with the contract in its metadata."""
    constants: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    at = node("Sub", [INPUT_NAME, constant("mean", normaliser.mean)], "centred")
    at = node("Div", [at, constant("std", normaliser.std)], "scaled")
    bounds = [constant("clip_low", -normaliser.clip), constant("clip_high", normaliser.clip)]
    at = node("Clip", [at, *bounds], "standardised")
    operators = [{"relu": "Relu", "tanh": "Tanh"}[activation]] * (len(weights) - 1)
    operators.append("Tanh" if squash else "Identity")
    # Linear layers have the even numbers, nonlinearities the odd ones.
    for i, ((weight, bias), operator) in enumerate(zip(weights, operators, strict=True)):
        names = [constant(f"weight{2 * i}", weight), constant(f"bias{2 * i}", bias)]
        at = node("Gemm", [at, *names], f"layer{2 * i}", transB=1)
        last = i == len(weights) - 1
        at = node(operator, [at], OUTPUT_NAME if last else f"layer{2 * i + 1}")
    inputs, outputs = weights[0][0].shape[1], weights[-1][0].shape[0]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", outputs])],
        constants,
    )
    # The IR version that onnxruntime has read since 1.13, not the newest that onnx writes.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _random_observations(policy: PolicySnapshot) -> Array:
    """Return observations over three standard deviations and past the clip, shape (N, O)."""
    mean, std = policy.normaliser.mean, policy.normaliser.std
    rng = np.random.default_rng(0)
    spread = rng.normal(0.0, 3.0, (_RANDOM_OBSERVATIONS, len(mean)))
    return np.asarray(mean + std * spread, dtype=np.float32)


def _recorded_observations(env: gymnasium.Env[Any, Any], policy: PolicySnapshot) -> list[Array]:
    """Return observations of the policy's own episodes, each of shape (T, O)."""
    recorded, act = [], NumpyPolicy(policy).mean
    for seed in range(_RECORDED_EPISODES):
        observation, _ = env.reset(seed=seed)
        rows, over = [], False
        while not over:
            rows.append(np.array(observation, dtype=np.float32))
            observation, _, terminated, truncated, _ = env.step(act(rows[-1]).copy())
            over = terminated or truncated
        recorded.append(np.stack(rows))
    return recorded


def _provenance(loaded: LoadedPolicy, env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Return where a policy comes from, with what the configuration leaves to the task."""
    task = env.unwrapped.task  # type: ignore[attr-defined]
    top = task.top_speed_mps if math.isfinite(task.top_speed_mps) else None  # no bound
    packages = ("torch", "numpy", "pybullet", "onnx")
    return {
        **loaded.provenance,
        "training": json.loads(config_to_json(loaded.config)),
        "task": {"episode_s": task.episode_s, "top_speed_mps": top},
        "versions": versions(packages),
    }


def export_run(
    run: Path | None = None,
    config: str = "trot",
    logdir: Path = Path("runs"),
    out: Path | None = None,
) -> int:
    """Write a trained policy to an ONNX file that the deploy loop runs.

    Args:
        run: Run folder or checkpoint file; the newest run of CONFIG when left out.
        config: Configuration whose newest run is meant when RUN is left out.
        logdir: Folder of run folders.
        out: File to write; RUN/policy.onnx when left out.
    """
    source = run or newest_run(logdir, config).path
    folder = source if source.is_dir() else source.parent.parent
    with warnings.catch_warnings(record=True) as caught:
        exported = export(source, out or folder / "policy.onnx")
    for warning in caught:
        print(f"warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    terms = ", ".join(term.name for term in exported.contract.observation)
    print(
        f"exported {source} to {exported.path}: observation {terms}; onnxruntime equals torch "
        f"within {exported.max_difference:.1e} on {exported.observations} observations"
    )
    print(f"next: make run POLICY={exported.path}")
    return EXIT_OK


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return tyro.cli(export_run, args=arguments, prog="minitaur export")


if __name__ == "__main__":
    sys.exit(main())
