"""The configuration of a training run: frozen and checked dataclasses, and their JSON.

Every run folder has its configuration as JSON, and it is read back strictly: a run that goes on
under a silently different configuration is worth less than none. The named configurations are in
``training.runs.presets``. Imports neither torch nor an environment, so that reading is instant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from robot_firmware_bridge.json_values import (
    Added,
    JsonValueError,
    Length,
    Within,
    check_bounds,
    decode,
    parse,
)
from training.errors import ConfigError

SamplerKind = Literal["process", "ray"]
LoggerKind = Literal["tensorboard", "wandb"]

# What may differ between two runs that must end with the same policy.
RESOURCES = ("workers", "sampler", "address", "device", "logger")

# Bounds of counts: beyond them a run would ask for all of a computer's memory, or never end.
_Widths = Annotated[tuple[Annotated[int, Within(1, 4096)], ...], Length(0, 10)]
_Processes = Annotated[int, Within(0, 1024)]
_Count = Annotated[int, Within(1, 10**6)]
_Steps = Annotated[int, Within(1, 10**12)]


def _require_bounds(config: object, prefix: str = "") -> None:
    try:
        check_bounds(config, prefix)
    except JsonValueError as error:
        raise ConfigError(str(error)) from error


def _require(fits: bool, field_name: str, rule: str, value: object) -> None:
    if not fits:
        raise ConfigError(f"{field_name} must be {rule}, got {value!r}")


def _require_positive(config: object, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value > 0, prefix + name, "positive", value)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Two separate multilayer perceptrons: the mean of a Gaussian policy, and the value.

    Attributes:
        policy_layers: Widths of the policy's hidden layers.
        value_layers: Widths of the value function's hidden layers.
        activation: Nonlinearity of the hidden layers.
        init_mean_factor: Variance of the initial mean's last layer, relative to 1 / fan-in. Small,
            so that the first policy is nearly zero whatever it observes.
        init_log_std: Initial log standard deviation of every action, independent of the state.
        min_log_std: Floor that keeps exploration alive; None for no floor.
        mirror: The policy is its own mirror image, left for right: half as much to learn, and no
            bias to either side. The environment must have a ``mirror``.
    """

    policy_layers: _Widths = (200, 100)
    value_layers: _Widths = (200, 100)
    activation: Literal["relu", "tanh"] = "relu"
    init_mean_factor: float = 0.1
    init_log_std: float = -1.0
    min_log_std: float | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        _require_bounds(self, "network")
        hidden = bool(self.policy_layers) or not self.mirror
        _require(hidden, "network.policy_layers", "not empty with a mirror", self.policy_layers)
        _require_positive(self, "network.", "init_mean_factor")


@dataclass(frozen=True, slots=True)
class KlPenaltyObjective:
    """PPO's adaptive KL penalty, with the cutoff of the original Minitaur training.

    Minimises ``-ratio * advantage + coefficient * KL + cutoff_coef * max(0, KL - cutoff)^2`` with
    ``cutoff = cutoff_factor * target``. After an update the coefficient grows by half if the KL
    came out above 1.3 targets, and shrinks likewise below 0.7.
    """

    kind: Literal["kl_penalty"] = "kl_penalty"
    target: float = 1e-2
    cutoff_factor: float = 2.0
    cutoff_coef: float = 1000.0
    init_penalty: float = 1.0

    def __post_init__(self) -> None:
        _require_positive(self, "ppo.objective.", "target", "init_penalty")


@dataclass(frozen=True, slots=True)
class ClipObjective:
    """PPO's clipped surrogate.

    Attributes:
        kind: Tag of the objective in JSON.
        clip_range: Half width of the interval about 1 outside which a ratio earns nothing more.
        stop_kl: The policy's epochs end early once the mean KL over an epoch exceeds this.
    """

    kind: Literal["clip"] = "clip"
    clip_range: float = 0.2
    stop_kl: float | None = 0.03

    def __post_init__(self) -> None:
        _require_positive(self, "ppo.objective.", "clip_range")
        stop = self.stop_kl
        _require(stop is None or stop > 0.0, "ppo.objective.stop_kl", "positive", stop)


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """How a batch of episodes becomes a better policy.

    Attributes:
        objective: What the policy's epochs minimise.
        discount: Discount per control step.
        gae_lambda: Lambda of generalised advantage estimation; 1.0 is plain discounted returns.
        policy_epochs: Passes over the batch for the policy.
        value_epochs: Passes over the batch for the value function.
        minibatch_size: Samples per gradient step, about; None for the whole batch.
        policy_learning_rate: Adam's, for the policy.
        value_learning_rate: Adam's, for the value function.
        schedule: Course of the policy's rate: ``constant``; ``linear`` to zero over the run;
            ``kl_adaptive`` moves it so that an update's KL stays near ``schedule_kl``.
        schedule_kl: KL that ``kl_adaptive`` aims for.
        entropy_coef: Weight of the entropy bonus.
        max_grad_norm: Gradients are scaled down to this norm; None leaves them.
        privileged_value: The value function, which is not deployed, also takes what the environment
            puts into ``info["privileged"]``, such as the drawn plant, which decides the return.
    """

    objective: KlPenaltyObjective | ClipObjective = KlPenaltyObjective()
    discount: Annotated[float, Within(0.0, 1.0)] = 0.995
    gae_lambda: Annotated[float, Within(0.0, 1.0)] = 1.0
    policy_epochs: _Count = 64
    value_epochs: _Count = 64
    minibatch_size: _Steps | None = None
    policy_learning_rate: float = 1e-4
    value_learning_rate: float = 1e-4
    schedule: Literal["constant", "linear", "kl_adaptive"] = "constant"
    schedule_kl: float = 0.01
    entropy_coef: float = 0.0
    max_grad_norm: float | None = None
    privileged_value: bool = False

    def __post_init__(self) -> None:
        _require_bounds(self, "ppo")
        _require_positive(self, "ppo.", "schedule_kl")
        _require_positive(self, "ppo.", "policy_learning_rate", "value_learning_rate")
        norm = self.max_grad_norm
        _require(norm is None or norm > 0, "ppo.max_grad_norm", "positive or null", norm)
        _require(self.entropy_coef >= 0.0, "ppo.entropy_coef", "0 or more", self.entropy_coef)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training run.

    Attributes:
        name: Name of the configuration; run folders carry it.
        task: Gymnasium id of the environment.
        start_from: Run folder or checkpoint file whose networks and observation statistics this run
            starts with; empty to start from scratch. Sizes must be the same.
        first_gait: Gait that the first policy imitates, a name in
            ``training.learner.imitation.GAITS``; empty for random networks. Ignored with
            ``start_from``.
        task_kwargs: Arguments of the environment.
        eval_kwargs: Those that differ in evaluation.
        observation_clip: Standardised observations are clipped to plus and minus this.
        total_steps: Environment steps after which training ends, to the next full update.
        episodes_per_update: Episodes in a batch.
        noise_memory: Correlation of the exploration noise from one step to the next. Noise drawn
            anew every 6 ms averages out before a leg has moved; noise that lasts moves it.
        eval_every_updates: Updates between evaluations; there is always one at the end.
        eval_episodes: Episodes of an evaluation, the same ones every time.
        checkpoint_every_updates: Updates between checkpoints; every evaluation makes one too.
        score_metric: The episode metric that is the headline: ``return``, ``length``, or one that
            the environment puts into ``info["metrics"]`` on the last step.
        score_milestone: A score whose first crossing is recorded in steps and seconds.
        score_target: Training ends at the first evaluation that reaches this.
        seed: Every random number follows from it.
        workers: Processes that step environments; 0 steps them in the trainer's process. The
            result does not depend on it.
        sampler: What the workers are: ``process`` for child processes of the trainer, ``ray`` for
            actors of a Ray cluster, which may be on other computers. The result is the same.
        address: HOST:PORT of the Ray cluster to join; empty starts one on this computer. Only the
            sampler ``ray`` reads it.
        torch_threads: Threads of each network's update; the two networks are updated side by side
            in any case. The order of floating-point sums depends on it.
        device: Torch device of the update.
        logger: Where the curves go: ``tensorboard`` for the files in the run folder; ``wandb`` for
            those, and Weights & Biases besides.
    """

    name: str
    task: str
    start_from: str = ""
    first_gait: str = ""
    task_kwargs: Mapping[str, object] = field(default_factory=dict)
    eval_kwargs: Mapping[str, object] = field(default_factory=dict)
    network: NetworkConfig = NetworkConfig()
    ppo: PPOConfig = PPOConfig()
    observation_clip: float = 5.0
    total_steps: _Steps = 50_000_000
    episodes_per_update: _Count = 30
    noise_memory: float = 0.0
    eval_every_updates: _Steps = 10
    eval_episodes: _Count = 30
    checkpoint_every_updates: _Steps = 10
    score_metric: str = "return"
    score_milestone: float | None = None
    score_target: float | None = None
    seed: Annotated[int, Within(0, 2**63 - 1)] = 0
    workers: _Processes = 0
    sampler: SamplerKind = "process"
    address: str = ""
    torch_threads: Annotated[int, Within(1, 1024)] = 1
    device: str = "cpu"
    logger: Annotated[LoggerKind, Added()] = "tensorboard"

    def __post_init__(self) -> None:
        for name in ("task_kwargs", "eval_kwargs"):  # as they come back from a run's folder
            object.__setattr__(self, name, _with_lists(getattr(self, name)))
        _require_bounds(self)
        _require_positive(self, "", "observation_clip")
        memory = self.noise_memory
        _require(0.0 <= memory < 1.0, "noise_memory", "in [0, 1)", memory)


def _with_lists(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _with_lists(each) for name, each in value.items()}
    return [_with_lists(each) for each in value] if isinstance(value, tuple | list) else value


def config_to_json(config: TrainConfig) -> str:
    """Return the resolved configuration as indented JSON, every field named."""
    return json.dumps(asdict(config), indent=2) + "\n"


def config_from_json(text: str) -> TrainConfig:
    """Read what ``config_to_json`` wrote.

    The fields that say which sampler runs the episodes may be missing, since they do not decide
    the result: a configuration that was written without them is that of a run with processes.

    Raises:
        ConfigError: Not JSON, or a field is missing, unknown, mistyped or impossible.
    """
    try:
        data = parse(text, "config")
        if isinstance(data, dict):
            data = {"sampler": "process", "address": "", **data}
        config: TrainConfig = decode(TrainConfig, data, "config")
    except JsonValueError as error:
        raise ConfigError(str(error)) from error
    return config


def config_identity(config: TrainConfig) -> str:
    """Return a hash of all that decides the result: equal for runs that can resume each other.

    Left out are the fields that only decide where the work is done, and where it is shown.
    """
    canonical = json.dumps(_plain(config), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def config_differences(mine: TrainConfig, theirs: TrainConfig) -> list[str]:
    """List the fields that keep one run from resuming the other, as ``name: mine, not theirs``."""
    ours, others = _flat(_plain(mine)), _flat(_plain(theirs))
    return [
        f"{name}: {ours.get(name)!r}, not {others.get(name)!r}"
        for name in {**ours, **others}
        if ours.get(name) != others.get(name)
    ]


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Return what decides the result, in JSON's types (tuples are lists there)."""
    data: dict[str, Any] = json.loads(config_to_json(config))
    for name in RESOURCES:
        del data[name]
    return data


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested objects as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat
