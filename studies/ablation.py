"""The ablation: the trot trained in ever truer simulators, and measured on a held-out engine.

After section V of Tan et al. 2018 (arXiv 1804.10332): the simulator gains one thing at a time, with
the small and with the large observation. Everything else is the same for all. A result is one
condition with one seed. ``minitaur ablation --help`` explains the options, and
``studies.study`` how results are kept; a training that was stopped goes on where it was.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tyro

from deploy.record import plots
from robot_firmware_bridge.command_line import command
from studies import figures
from studies.peers import zero_network
from studies.study import Job, Report, Result, Study, choose, conduct
from training.rollout.episode import Episode, Stream
from training.rollout.policy import PolicySnapshot
from training.rollout.samplers import RolloutSpec, make_sampler
from training.runs.config import ClipObjective, TrainConfig
from training.runs.folder import RunFolder
from training.runs.presets import trot
from training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Seed of the measured episodes; a training has the seed of its result.
EVALUATION_SEED = 1000
# The last policy counts, not the best: an evaluation on the way would only cost time.
LAST_COUNTS: dict[str, Any] = {"eval_every_updates": 1_000_000, "eval_episodes": 1}
TASK = "MinitaurStack/PlainTrot-v0"
# The reference gait without a policy, a result like the others.
REFERENCE = "reference"

Environments = Mapping[str, Mapping[str, Any]]
_NO_LATENCY = {"pd_latency_s": 0.0, "policy_latency_s": 0.0}
# Each simulator has one thing more than the one before. The IMU's nominal noise of 0.001 is in all
# of them: without it every episode of the first two would be the same one.
SIMULATORS: Environments = {
    "ideal": {"plant": "pybullet-ideal", "params": _NO_LATENCY},
    "actuator": {"params": _NO_LATENCY},
    "latency": {},
    "table1": {"randomization": "table1"},
}
_TITLES = ("ideal motors", "+ actuator model", "+ latency", "+ randomisation")
# Stand-ins for the robot. No policy has been trained on that engine.
HELD_OUT: Environments = {
    "held_out": {"plant": "mujoco"},
    "held_out_table1": {"plant": "mujoco", "randomization": "table1"},
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to train.

    Attributes:
        simulator: Where, a name in ``SIMULATORS``.
        observation: Numbers that the policy sees: 4, or 12 with the motor angles.
    """

    simulator: str
    observation: int

    @property
    def name(self) -> str:
        """Its name in results."""
        return f"{self.simulator}-{self.observation}d"

    @property
    def title(self) -> str:
        """What it is, for people."""
        titles = dict(zip(SIMULATORS, _TITLES, strict=True))
        return f"{titles[self.simulator]}, {self.observation}-D"

    @property
    def style(self) -> tuple[str, str]:
        """Colour and marker of its results."""
        colours = dict(zip(SIMULATORS, plots.COLOURS, strict=False))
        return colours[self.simulator], "s" if self.observation == 12 else "o"

    def kwargs(self, environment: Mapping[str, Any], episode_s: float) -> dict[str, Any]:
        """Return the arguments of the task in an environment."""
        return {**environment, "motor_angles": self.observation == 12, "episode_s": episode_s}

    def measurements(self, seconds: float) -> dict[str, dict[str, Any]]:
        """Return the environments that a policy is measured in: its simulator and the held-out."""
        environments = {"simulator": SIMULATORS[self.simulator], **HELD_OUT}
        return {name: self.kwargs(kwargs, seconds) for name, kwargs in environments.items()}


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (Condition(name, size) for size in (4, 12) for name in SIMULATORS)
}


@dataclass(frozen=True, kw_only=True)
class Ablation(Study):
    """Train the paper's trot in ever truer simulators and measure it on a held-out engine.

    Without options this is the whole ablation, 8 conditions with 3 seeds each, which takes about
    an hour. Stopped, it goes on where it was.

    Attributes:
        conditions: Names of conditions: ideal-4d, actuator-4d, latency-4d, table1-4d, ideal-12d,
            actuator-12d, latency-12d, table1-12d; all when left out.
        seeds: Seeds 0, 1, ... of every condition.
        steps: Environment steps of a training.
        episodes: Measured episodes of a policy in each environment.
        seconds: Length of a measured episode.
        training_seconds: Length of an episode of a training.
        batch: Episodes in a batch of a training.
    """

    name: ClassVar[str] = "ablation"

    conditions: tuple[str, ...] = ()
    seeds: int = 3
    steps: int = 100_000
    episodes: int = 20
    seconds: float = 10.0
    training_seconds: float = 5.0
    batch: int = 6
    results: Path = Path("build/ablation")

    def jobs(self, commit: str) -> list[Job]:
        """List every job, seed by seed, so that all conditions can soon be compared."""
        conditions = choose(self.conditions, CONDITIONS)
        measured = {"episodes": self.episodes, "seconds": self.seconds, "seed": EVALUATION_SEED}
        found = [Job(REFERENCE, {"condition": REFERENCE, **measured}, self._measure_reference)]
        for seed in range(self.seeds):
            for condition in conditions:
                trained = {
                    "condition": condition.name,
                    "training_seed": seed,
                    "steps": self.steps,
                    "training_seconds": self.training_seconds,
                    "batch": self.batch,
                }
                name = f"{condition.name}.{seed}"
                size = f"{self.steps}x{self.batch}x{self.training_seconds:g}s"
                folder = self.results / commit / "runs" / f"{name}.{size}"
                compute = functools.partial(self._compute, condition, seed, folder)
                found.append(Job(name, {**trained, **measured}, compute))
        return found

    def config(self, condition: Condition, seed: int) -> TrainConfig:
        """Return what is trained: the algorithm of ``trot`` in batches for short runs."""
        base = trot()
        return replace(
            base,
            name=f"ablation_{condition.name}",
            task=TASK,
            task_kwargs=condition.kwargs(SIMULATORS[condition.simulator], self.training_seconds),
            eval_kwargs={},
            # Under stiff motors the noise of ``trot`` would cost more than walking earns.
            network=replace(base.network, init_log_std=-2.0),
            ppo=replace(
                base.ppo,
                objective=ClipObjective(stop_kl=0.1),
                schedule_kl=0.03,
                policy_learning_rate=3e-4,
                minibatch_size=512,
            ),
            total_steps=self.steps,
            episodes_per_update=self.batch,
            **LAST_COUNTS,
            checkpoint_every_updates=3,
            score_metric="return",
            score_milestone=None,
            seed=seed,
            workers=self.workers,
        )

    def _measure_reference(self, _: Report) -> dict[str, Any]:
        first = CONDITIONS["ideal-4d"]
        environments = {
            name: first.kwargs(kwargs, self.seconds)
            for name, kwargs in {**SIMULATORS, **HELD_OUT}.items()
        }
        return measure(zero_network(4), environments, self.episodes, self.workers)

    def _compute(
        self, condition: Condition, seed: int, folder: Path, report: Report
    ) -> dict[str, Any]:
        """Train, or go on training, and measure the last policy: no choice by hindsight."""
        from training.runs.checkpoint import load_policy  # workers need no torch

        times = train_to_end(self.config(condition, seed), folder, report)
        environments = condition.measurements(self.seconds)
        policy = load_policy(folder).policy
        measured = measure(policy, environments, self.episodes, self.workers)
        return {**times, **measured}

    def line(self, result: Result) -> str:
        """Return the figures of a result in one line."""
        measured = [(name, f) for name, f in result.figures.items() if isinstance(f, dict)]
        return "; ".join(f"{n}: return {f['return']:.2f}, {f['survived']} up" for n, f in measured)

    def page(self, results: Sequence[Result]) -> str:
        """Return results as a Markdown page: the best on the held-out engine first."""
        times_s = [r.figures["wall_seconds"] for r in results if r.name != REFERENCE]
        head = _HEAD.format(
            seeds=self.seeds, steps=self.steps, episodes=self.episodes, minutes=sum(times_s) / 60.0
        )
        alone = ", ".join(f"{f['return']:.2f} in `{n}`" for n, f in _alone(results).items())
        tail = f"The reference gait alone, under a network of zeros, earns {alone}."
        return f"{head}\n{table(results)}\n\n{tail}\n"

    def draw(self, results: Sequence[Result], path: Path) -> None:
        """Draw return in training against return on the held-out engine, and the gaps, as PNG."""
        groups, alone = grouped(results), _alone(results)
        left = functools.partial(_returns, groups=groups, alone=alone)
        figures.draw(path, left, functools.partial(_gaps, groups=groups), ratio=1.5)


def train_to_end(config: TrainConfig, folder: Path, report: Report) -> dict[str, float]:
    """Train, or go on training, to the end; return its steps and how long they took."""
    for row in train(config, folder):
        report(row.steps / config.total_steps)
    end = json.loads(RunFolder(folder).finished.read_text())
    return {"steps": end["steps"], "wall_seconds": end["wall_seconds"]}


def measure(
    policy: PolicySnapshot, environments: Environments, episodes: int, workers: int
) -> dict[str, Any]:
    """Measure a policy, acting by its mean, in each of the environments.

    Raises:
        SamplerError: The worker processes cannot produce episodes.
    """
    found = {}
    for name, kwargs in environments.items():
        sampler = make_sampler(RolloutSpec(EVALUATION_SEED, TASK, kwargs, kwargs), workers)
        try:
            done = sampler.collect(policy, Stream.EVALUATION, range(episodes))
        finally:
            sampler.close()
        found[name] = summarize(done, float(kwargs["episode_s"]))
    return found


def summarize(episodes: Sequence[Episode], seconds: float) -> dict[str, Any]:
    """Return figures over episodes; one that ended early has made its distance in the whole length.

    An episode survives that ends by neither a fall nor a motor that was switched off.
    """
    metrics = [episode.metrics for episode in episodes]
    survived = sum(not (m["fell"] or m["overheated"]) for m in metrics)
    return {
        "episodes": len(episodes),
        "return": float(np.mean([m["return"] for m in metrics])),
        "returns": [float(m["return"]) for m in metrics],
        "survived": survived,
        "survival_rate": survived / len(episodes),
        "speed_mps": float(np.mean([m["distance_m"] for m in metrics])) / seconds,
        "mean_power_w": float(np.mean([m["mean_power_w"] for m in metrics])),
    }


# A condition and its results, one for each seed.
Group = tuple[Condition, list[Result]]


def grouped(results: Sequence[Result]) -> list[Group]:
    """Return the results by condition, the best mean return on the held-out engine first."""
    groups: dict[str, list[Result]] = {name: [] for name in (*CONDITIONS, REFERENCE)}
    for result in results:
        groups[result.arguments["condition"]].append(result)
    found = [(condition, groups[name]) for name, condition in CONDITIONS.items() if groups[name]]
    return sorted(found, key=lambda group: -mean(returns(group[1], "held_out")))


def returns(results: Sequence[Result], environment: str) -> list[float]:
    """Return the mean return of every seed in an environment."""
    return [float(result.figures[environment]["return"]) for result in results]


def gaps(results: Sequence[Result]) -> list[float]:
    """Return what the own simulator promises more than the held-out engine gives, by seed."""
    pairs = zip(returns(results, "simulator"), returns(results, "held_out"), strict=True)
    return [own - held_out for own, held_out in pairs]


def apart(better: Sequence[Result], worse: Sequence[Result]) -> bool:
    """Return whether every seed of one condition beats every seed of another, held out."""
    return min(returns(better, "held_out")) > max(returns(worse, "held_out"))


def _alone(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of the reference gait, if they are there."""
    return {result.name: result.figures for result in results}.get(REFERENCE, {})


def mean(values: Sequence[float]) -> float:
    """Return the mean of some numbers."""
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


_COLUMNS = (
    "trained in",
    "own simulator",
    "held-out engine",
    "gap",
    "held out, Table I",
    "survived held out",
    "under Table I",
    "held out, m/s",
    "apart from the next",
    "commit",
)
_HEAD = """# Ablation: what each part of the simulator is worth on a held-out engine

Written by `make ablation`; what it means is in [results.md](../results.md#ablation). Every row is a
condition, trained with {seeds} seeds for at least {steps:,} steps each, {minutes:.0f} minutes in
all. The last policy of every training is measured in {episodes} episodes in each environment.
Returns are in the paper's reward, metres less 0.008 of the joules, summed until the robot falls or
the time is over: mean over the seeds, and the worst to the best seed. "Gap" is what the simulator
that a policy was trained in promises more than the held-out engine, MuJoCo, gives. The best there
comes first. A row is "apart from the next" if its worst seed beats the best seed of the row below
it on the held-out engine; where it says "no" the order of the two is not established. "Commit" is
the code that computed the row. [ablation.json](ablation.json) has every seed and every episode's
return.

![Return in training against return on the held-out engine; the gap](ablation.png)
"""


def table(results: Sequence[Result]) -> str:
    """Return the Markdown table of results, a row for every condition."""
    groups, rows = grouped(results), []
    for i, (condition, own) in enumerate(groups):
        after = groups[i + 1][1] if i + 1 < len(groups) else None
        up = [mean([r.figures[name]["survival_rate"] for r in own]) for name in HELD_OUT]
        rows.append(
            (
                f"{condition.title} (`{condition.name}`)",
                _spread(returns(own, "simulator")),
                _spread(returns(own, "held_out")),
                _spread(gaps(own)),
                _spread(returns(own, "held_out_table1")),
                *(f"{100.0 * rate:.0f} %" for rate in up),
                f"{mean([r.figures['held_out']['speed_mps'] for r in own]):.2f}",
                "" if after is None else ("yes" if apart(own, after) else "no"),
                ", ".join(dict.fromkeys(result.commit for result in own)),
            )
        )
    return figures.table(_COLUMNS, rows)


def _returns(axis: Axes, groups: Sequence[Group], alone: dict[str, Any]) -> None:
    """Draw a large marker at each condition's mean, a small one for every seed."""
    for condition, own in groups:
        colour, marker = condition.style
        x, y = returns(own, "simulator"), returns(own, "held_out")
        look = f"{marker}k"
        axis.plot(x, y, look, mfc=colour, markersize=5)
        axis.plot(mean(x), mean(y), look, mfc=colour, markersize=12, label=condition.title)
    if groups:
        best = max(returns(groups[0][1], "held_out"))
        axis.axline((best, best), slope=1.0, color=plots.GREY, linestyle="--", label="no gap")
    if alone:
        height = alone["held_out"]["return"]
        axis.axhline(height, color=plots.GREY, linestyle=":", label="reference gait alone")
    if groups or alone:
        axis.legend(frameon=False, fontsize=9)
    axis.set_title("What training promises, and what the held-out engine gives", loc="left")
    axis.set_xlabel("return in the simulator it was trained in")
    axis.set_ylabel("return on the held-out engine (MuJoCo)")


def _gaps(axis: Axes, groups: Sequence[Group]) -> None:
    """Draw a bar of the mean gap for every condition, a dot for every seed."""
    order = list(CONDITIONS.values())
    for at, (condition, own) in enumerate(sorted(groups, key=lambda group: order.index(group[0]))):
        hatch = "///" if condition.observation == 12 else None
        colour, gap = condition.style[0], mean(gaps(own))
        axis.barh(condition.title, gap, 0.7, color=colour, hatch=hatch, edgecolor="white")
        axis.plot(gaps(own), [at] * len(own), "k.", markersize=6)
    axis.invert_yaxis()
    axis.axvline(0.0, color="black", linewidth=0.8)
    axis.set_title("Gap: own simulator less held-out engine", loc="left")
    axis.set_xlabel("return")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``studies.study.conduct`` for the exit codes."""
    return conduct(tyro.cli(Ablation, args=arguments, prog="minitaur ablation"))


if __name__ == "__main__":
    sys.exit(main())
