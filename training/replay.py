"""Run again what met a number that is not finite: `minitaur replay DUMP`.

The dump of an episode runs in its environment again, with the recorded actions and policy; that of
an update makes the same gradient steps from the same state. On one machine and with the same
libraries it ends at the same step, with the same bits. The table of the last steps shows what grew
beyond measure first.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from sim.plant.params import PlantParams, differing
from training.errors import DumpError, EpisodeError, TrainingDivergedError
from training.rollout.dump import Dump, drawn_by, policy_of, read_dump
from training.rollout.episode import Episode, Stream
from training.rollout.samplers import EpisodeRunner, RolloutSpec
from training.runs.config import TrainConfig, config_from_json
from training.runs.folder import RunFolder

# Rows that a table shows.
_SHOWN = 10
# What a robot of this size, and a task on its scale, stays far below.
_BEYOND = {
    "joint speed, rad/s": 500.0,
    "torque, Nm": 50.0,
    "base height, m": 2.0,
    "tilt, rad": math.inf,
    "action": 1e3,
    "observation": 1e4,
    "reward": 1e4,
    "loss": 1e6,
    "gradient norm": 1e6,
    "largest weight": 1e3,
}

Row = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Options:
    """Run again what met a number that is not finite, and show the last steps before it.

    Exit codes: 0 it ended again at the same step with the same number; 1 it did not; 2 bad input.
    """

    dump: Annotated[Path, tyro.conf.Positional]
    """Dump of a training (failure.npz) or of an evaluation, or a run folder that has one."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        recorded: What happened, as the dump says.
        found: What happened this time; "" for nothing.
        lines: The last steps, for people.
    """

    recorded: str
    found: str
    lines: Sequence[str]

    @property
    def is_same(self) -> bool:
        """Whether it happened again, to the same step and number."""
        return self.found == self.recorded


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur replay")
    replayed = replay(options.dump)
    print("\n".join(replayed.lines))
    if replayed.is_same:
        print(f"again: {replayed.found}")
        return EXIT_OK
    if replayed.found:
        print(f"differs: {replayed.found}; in the dump: {replayed.recorded}")
    else:
        print(f"no longer: {replayed.recorded}")
    return EXIT_FAULT


def replay(path: Path) -> Replayed:
    """Run a dump, or that of a run folder, again.

    Raises:
        DumpError: There is none, or it is damaged.
        ConfigError: Its task cannot be made here.
    """
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.dump.exists():
            raise DumpError(f"{path} has no dump: it did not break off, or was retried since")
        path = folder.dump
    dump = read_dump(path)
    how = {"episode": _replay_episode, "update": _replay_update, "evaluation": _replay_evaluation}
    if (kind := dump.facts.get("kind")) not in how:
        raise DumpError(f"{path} is of the unknown kind {kind!r}")
    try:
        return how[kind](dump)
    except (KeyError, ValueError) as error:
        raise DumpError(f"{path} lacks what its kind needs: {error!r}") from error


# --- an episode -------------------------------------------------------------------------------


class Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Steps an environment with the actions of a dump, and keeps what is seen of it, as rows.

    Attributes:
        rows: One for the reset, as step -1, and one for each step.
        last: The last action and what came of it, as text.
        other_actions: The first step whose action was another one than that of the dump; None if
            all were the same, bit for bit.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], actions: NDArray[np.float32]) -> None:
        super().__init__(env)
        self._actions = actions
        self.rows: list[Row] = []
        self.last = "reset: no answer"
        self.other_actions: int | None = None

    def reset(self, **kwargs: Any) -> Any:
        """Reset, and keep what was observed."""
        try:
            observation, info = self.env.reset(**kwargs)
        except Exception:
            self.rows.append({"step": -1.0, **_motion(self.env.unwrapped)})
            raise
        seen = {"observation": _largest(observation)}
        self.rows.append({"step": -1.0, **_motion(self.env.unwrapped), **seen})
        self.last = f"reset: observation {_text(observation)}"
        return observation, info

    def step(self, action: Any) -> Any:
        """Step with the action of the dump, as long as it has one."""
        k = len(self.rows) - 1
        if k < len(self._actions):
            if self.other_actions is None and not np.array_equal(action, self._actions[k]):
                self.other_actions = k
            action = self._actions[k].copy()
        self.last = f"step {k}: action {_text(action)}, no answer"
        try:
            observation, reward, *rest = self.env.step(action)
        except Exception:
            self.rows.append(self._row(k, action))
            raise
        seen = {"observation": _largest(observation), "reward": float(reward)}
        self.rows.append({**self._row(k, action), **seen})
        self.last = f"step {k}: action {_text(action)}, observation {_text(observation)}"
        return observation, reward, *rest

    def _row(self, k: int, action: Any) -> dict[str, float]:
        return {"step": float(k), **_motion(self.env.unwrapped), "action": _largest(action)}


def _motion(env: Any) -> dict[str, float]:
    """Return how a robot of the simulator moves; nothing of another environment."""
    plant = getattr(env, "plant", None)
    if plant is None:
        return {}
    (_, speeds, torques), truth = plant.motor_truth(), plant.truth()
    return {
        "joint speed, rad/s": _largest(speeds),
        "torque, Nm": _largest(torques),
        "base height, m": float(truth.position_m[2]),
        "tilt, rad": float(truth.tilt_rad),
    }


def _replay_episode(dump: Dump) -> Replayed:
    facts, config = dump.facts, _config(dump)
    stream = Stream[facts["stream"].upper()]
    with contextlib.closing(EpisodeRunner(RolloutSpec.of(config))) as runner:
        env = Recorder(runner.env(stream), dump.arrays["actions"])
        found = ""
        raised: list[str] = []
        try:
            runner.run_in(env, policy_of(dump), stream, int(facts["index"]))
        except EpisodeError as error:
            found = error.cause
            if error.__cause__ is not None:
                raised = ["".join(traceback.format_exception(error.__cause__)).rstrip()]
        drawn = drawn_by(env.unwrapped, {})
    plant = [*_plant(facts), *_other_plant(facts, drawn)]
    lines = [*plant, *table(env.rows), env.last, *raised]
    if env.other_actions is not None:
        lines.append(f"the policy acts otherwise here from step {env.other_actions} on")
    return Replayed(facts["cause"], found, lines)


def _plant(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line on how the plant of a dump is not the nominal one, where it has a plant."""
    if "params" in facts:
        values = differing(PlantParams(**facts["params"])).items()
        yield f"plant: {', '.join(f'{name} {value}' for name, value in values) or 'nominal'}"


def _other_plant(facts: Mapping[str, Any], drawn: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if another plant was drawn than that of the dump: the task has changed."""
    was, now = facts.get("params", {}), drawn.get("params", {})
    others = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if others:
        name = others[0]
        yield (
            f"another plant is drawn here, the task has changed: {name} is {now.get(name)}, in the "
            f"dump {was.get(name)}"
        )


def _replay_evaluation(dump: Dump) -> Replayed:
    from training.evaluation.on_plant import replay_actions, replay_env

    actions = dump.arrays["actions"]
    with contextlib.closing(Recorder(replay_env(dump.facts), actions)) as env:
        found = replay_actions(env, dump.facts, actions)
    return Replayed(dump.facts["cause"], found, [*_plant(dump.facts), *table(env.rows), env.last])


# --- an update --------------------------------------------------------------------------------


def _replay_update(dump: Dump) -> Replayed:
    from training.runs.checkpoint import parse_checkpoint  # torch comes with it
    from training.runs.trainer import make_learner, make_repeatable

    facts, config = dump.facts, _config(dump)
    make_repeatable(config)
    learner = make_learner(config)
    before = parse_checkpoint(dump.arrays["checkpoint"].tobytes(), "the dump's checkpoint")
    learner.load_state(before.learner)
    rows: dict[str, list[Row]] = {"policy": [], "value": []}

    def look(network: str, loss: float, norm: float, weight: float) -> None:
        row = {"loss": loss, "gradient norm": norm, "largest weight": weight}
        rows[network].append({"step": float(len(rows[network])), **row})

    episodes, found = episodes_of(dump), ""
    try:
        learner.update(episodes, int(facts["update"]), float(facts["done"]), look)
    except TrainingDivergedError as error:
        found = error.cause
    lines = [_describe_batch(episodes)]
    for network, steps in rows.items():
        if steps:
            lines += [f"gradient steps of the {network}, weights before each:", *table(steps)]
    return Replayed(facts["cause"], found, lines)


def episodes_of(dump: Dump) -> list[Episode]:
    """Return the batch of an update."""
    arrays = dump.arrays
    ends = np.cumsum(arrays["lengths"])[:-1]
    names = ("observations", "actions", "rewards", "privileged")
    parts = zip(*(np.split(arrays[name], ends) for name in names), strict=True)
    return [
        Episode(
            index=index,
            observations=observations,
            actions=actions,
            rewards=rewards,
            terminated=bool(arrays["terminated"][k]),
            final_observation=arrays["final_observations"][k],
            privileged=privileged,
            final_privileged=arrays["final_privileged"][k],
            metrics={},
            env_seconds=0.0,
        )
        for k, (index, (observations, actions, rewards, privileged)) in enumerate(
            zip(dump.facts["index"], parts, strict=True)
        )
    ]


def _describe_batch(episodes: Sequence[Episode]) -> str:
    def bounds(values: Callable[[Episode], NDArray[Any]]) -> str:
        low = min(float(values(each).min()) for each in episodes)
        return f"{low:.4g} to {max(float(values(each).max()) for each in episodes):.4g}"

    return (
        f"{len(episodes)} episodes, {sum(map(len, episodes))} steps: observations "
        f"{bounds(lambda e: e.observations)}, actions {bounds(lambda e: e.actions)}, rewards "
        f"{bounds(lambda e: e.rewards)}"
    )


# --- what people read -------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> list[str]:
    """Return the last rows as lines of a table, and a line on what grew beyond measure first.

    What a row lacks is shown as ``-``.
    """
    if not rows:
        return []
    known = {name for row in rows for name in row}
    names = [name for name in ("step", *_BEYOND) if name in known]
    cells = [[_cell(name, row) for name in names] for row in rows[-_SHOWN:]]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (names, *cells)
    ]
    return [*lines, _first_beyond(rows)]


def _first_beyond(rows: Sequence[Row]) -> str:
    for row in rows:
        for name, value in row.items():
            if name in _BEYOND and not abs(value) <= _BEYOND[name]:  # nor is a NaN
                return f"first beyond measure: {name} {value:.4g} in {_where(row)}"
    return "nothing was beyond measure before"


def _where(row: Row) -> str:
    return "reset" if row["step"] < 0 else f"step {row['step']:.0f}"


def _cell(name: str, row: Row) -> str:
    if name not in row:
        return "-"
    return _where(row).removeprefix("step ") if name == "step" else f"{row[name]:.4g}"


def _largest(values: Any) -> float:
    return float(np.max(np.abs(values), initial=0.0))


def _text(values: Any) -> str:
    return np.array2string(np.asarray(values), precision=4, max_line_width=10**9, threshold=64)


def _config(dump: Dump) -> TrainConfig:
    return config_from_json(json.dumps(dump.facts["config"]))


if __name__ == "__main__":
    sys.exit(main())
