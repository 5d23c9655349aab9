"""The walk's ablation: what each part of the shipped walk's recipe is worth.

The recipe ``walk`` is trained as it is, and with one part left out at a time. Every policy is
measured where it was not trained: on the other engine, on calibrated robots, on plants with faults
that no training draws. Beside them stand the gait alone and the shipped policy. A result is one
variant with one seed. ``minitaur walk-ablation --help`` explains the options.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import tyro

from deploy.command_sources import AHEAD
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record import plots
from robot_firmware_bridge.command_line import command
from studies import figures, transfer
from studies.ablation import EVALUATION_SEED, LAST_COUNTS, mean, train_to_end
from studies.study import Job, Report, Result, Study, choose, conduct
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.evaluation.report import summarize
from training.export import export
from training.runs.config import TrainConfig
from training.runs.presets import walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHIPPED = Path("policies/walk.onnx")


def _plain() -> dict[str, Any]:
    """Return the scenes of the recipe with the plain floor in the place of every other ground."""
    scenes: Any = walk().task_kwargs["scenes"]
    shoves = ("push_force_low_n", "push_force_high_n")
    return {"scenes": [{k: v for k, v in each.items() if k in shoves} for each in scenes]}


@dataclass(frozen=True, slots=True)
class Variant:
    """The recipe with a part left out.

    Attributes:
        name: Its name in results.
        title: What it is, for people.
        kwargs: Arguments of the task that differ from the recipe's.
    """

    name: str
    title: str
    kwargs: Mapping[str, Any]


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("whole", "the whole recipe", {}),
        Variant("legs-only", "no modulation of the gait", {"modulated": False}),
        Variant("no-memory", "no memory", {"memory": False}),
        Variant("no-ground", "no rough ground", _plain()),
        Variant("no-random", "no randomised robots", {"randomization": "none"}),
    )
}
# Measured beside the variants, without a training.
REFERENCE, AS_SHIPPED = "gait-alone", "shipped"
_TITLES = {
    REFERENCE: "the gait alone",
    AS_SHIPPED: "the shipped walk",
    **{variant.name: variant.title for variant in VARIANTS.values()},
}
# Conditions of the transfer study, all of them straight on at the greatest speed.
WHERE = (
    "ahead",
    "blocks20-table1",
    "sill30",
    "up10",
    "shove130",
    "unmodelled",
    "bound-2018",
    "walk-2019",
    "mujoco-blocks20-table1",
)


@dataclass(frozen=True, kw_only=True)
class WalkAblation(Study):
    """Train the walk without each part of its recipe, and measure where it was not trained.

    Without options this is the whole ablation, 5 variants with 3 seeds each, which takes about
    five hours. Stopped, it goes on where it was.

    Attributes:
        variants: Names of variants: whole, legs-only, no-memory, no-ground, no-random; all when
            left out.
        seeds: Seeds 0, 1, ... of every variant.
        steps: Environment steps of a training.
        episodes: Measured episodes of a policy under each condition.
        seconds: Length of a measured episode.
    """

    name: ClassVar[str] = "walk-ablation"

    variants: tuple[str, ...] = ()
    seeds: int = 3
    steps: int = 1_500_000
    episodes: int = 12
    seconds: float = 8.0
    results: Path = Path("build/walk-ablation")

    def jobs(self, commit: str) -> list[Job]:
        """List every job, seed by seed, so that all variants can soon be compared."""
        variants = choose(self.variants, VARIANTS)
        measured = {"episodes": self.episodes, "seconds": self.seconds, "seed": EVALUATION_SEED}
        shipped = {"policy_sha256": OnnxPolicy.load(SHIPPED).digest}
        found = [
            Job(
                name,
                {"variant": name, **shipped, **measured},
                functools.partial(self._measure, SHIPPED, alone),
            )
            for name, alone in ((REFERENCE, True), (AS_SHIPPED, False))
        ]
        for seed in range(self.seeds):
            for variant in variants:
                trained = {"variant": variant.name, "training_seed": seed, "steps": self.steps}
                name = f"{variant.name}.{seed}"
                folder = self.results / commit / "runs" / f"{name}.{self.steps}"
                compute = functools.partial(self._compute, variant, seed, folder)
                found.append(Job(name, {**trained, **measured}, compute))
        return found

    def config(self, variant: Variant, seed: int) -> TrainConfig:
        """Return what is trained."""
        base = walk()
        return replace(
            base,
            name=f"walk_{variant.name}",
            task_kwargs={**base.task_kwargs, **variant.kwargs},
            total_steps=self.steps,
            **LAST_COUNTS,
            seed=seed,
            workers=self.workers,
        )

    def _compute(self, variant: Variant, seed: int, folder: Path, report: Report) -> dict[str, Any]:
        """Train, or go on training, and measure the last policy: no choice by hindsight."""
        times = train_to_end(self.config(variant, seed), folder, report)
        policy = export(folder, folder / "policy.onnx").path
        return {**times, **self._measure(policy, False, report)}

    def _measure(self, policy: Path, reference_only: bool, _: Report) -> dict[str, Any]:
        """Return the figures of a policy under every condition, by its name."""
        return {name: self._figures(name, policy, reference_only) for name in WHERE}

    def _figures(self, name: str, policy: Path, reference_only: bool) -> dict[str, Any]:
        condition = transfer.CONDITIONS[name]
        job = Evaluation(
            policy,
            plant=condition.plant,
            randomization=condition.randomization,
            params=condition.params,
            push=condition.push_n,
            terrain=condition.terrain,
            course=AHEAD,
            episodes=self.episodes,
            seconds=self.seconds,
            seed=EVALUATION_SEED,
            workers=self.workers,
            reference_only=reference_only,
        )
        calibrated = job.calibrated()
        found = summarize(job, list(evaluate(job, calibrated)), calibrated)
        names = ("survived", "survival_rate", "overheated", "mean_power_w")
        return {"speed_mps": found["speed_mps"]["mean"], **{each: found[each] for each in names}}

    def line(self, result: Result) -> str:
        """Return the figures of a result in one line."""
        return "; ".join(f"{name} {_cell([result], name)}" for name in WHERE)

    def page(self, results: Sequence[Result]) -> str:
        """Return results as a Markdown page, a row for every variant."""
        times_s = [result.figures.get("wall_seconds", 0.0) for result in results]
        head = _HEAD.format(
            seeds=self.seeds,
            steps=self.steps,
            episodes=self.episodes,
            seconds=self.seconds,
            minutes=sum(times_s) / 60.0,
        )
        return f"{head}\n{table(results)}\n"

    def draw(self, results: Sequence[Result], path: Path) -> None:
        """Draw speed and survivors of every variant under every condition, as PNG."""
        left, right = (functools.partial(d, groups=grouped(results)) for d in (_speeds, _survivors))
        figures.draw(path, left, right, ratio=1.0)


def grouped(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results by variant, one for each seed; the untrained ones first."""
    groups: dict[str, list[Result]] = {name: [] for name in _TITLES}
    for result in results:
        groups[result.arguments["variant"]].append(result)
    return {name: own for name, own in groups.items() if own}


def _values(results: Sequence[Result], condition: str, figure: str) -> list[float]:
    return [float(result.figures[condition][figure]) for result in results]


def _cell(results: Sequence[Result], condition: str) -> str:
    """Return mean speed, with the least and the greatest of the seeds, and survivors."""
    speeds = _values(results, condition, "speed_mps")
    rate = 100.0 * mean(_values(results, condition, "survival_rate"))
    spread = f" ({min(speeds):.2f} to {max(speeds):.2f})" if len(speeds) > 1 else ""
    return f"{mean(speeds):.2f}{spread}, {rate:.0f} %"


_HEAD = """# Ablation of the walk: what each part of its recipe is worth

Written by `make walk-ablation`; what it means is in
[results.md](../results.md#ablation-of-the-walk). The recipe `walk` is trained in MuJoCo, with one
part left out in each other variant. Seeds of each: {seeds}. Steps of each: at least {steps:,}. Time
of all: {minutes:.0f} minutes. The last policy of every training walks straight on at its greatest
speed in {episodes} episodes of {seconds:g} s under each condition; all but the last are in
PyBullet, where none of them was trained. A cell has the speed over the whole episode in m/s, as the
mean over the seeds with the worst and the best seed, and the share of the episodes that lasted:
without a fall, and without a motor that was switched off. The conditions are those of
`studies/transfer.py`. [walk-ablation.json](walk-ablation.json) has every seed.

![Speed and survivors of every variant under every condition](walk-ablation.png)
"""


def table(results: Sequence[Result]) -> str:
    """Return the Markdown table of results: conditions down, variants across."""
    groups = grouped(results)
    rows = [
        (
            f"{transfer.CONDITIONS[name].title} (`{name}`)",
            *(_cell(own, name) for own in groups.values()),
        )
        for name in WHERE
    ]
    commits = [", ".join(dict.fromkeys(r.commit for r in own)) for own in groups.values()]
    columns = ("condition", *(_TITLES[name] for name in groups))
    return figures.table(columns, [*rows, ("commit", *commits)])


def _speeds(axis: Axes, groups: Mapping[str, list[Result]]) -> None:
    _bars(axis, groups, "speed_mps", 1.0)
    axis.set_title("Mean speed over the episode, m/s", loc="left")
    if groups:
        below = (0.5, -0.12)
        axis.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=below)


def _survivors(axis: Axes, groups: Mapping[str, list[Result]]) -> None:
    _bars(axis, groups, "survival_rate", 100.0)
    axis.set_title("Episodes to the end, %", loc="left")


def _bars(axis: Axes, groups: Mapping[str, list[Result]], figure: str, scale: float) -> None:
    """Draw a bar for every variant under every condition, and a dot for each of several seeds."""
    width = 0.8 / max(1, len(groups))
    colours = dict(zip(VARIANTS, plots.COLOURS, strict=False))
    for i, (name, own) in enumerate(groups.items()):
        places = [at + (i + 0.5) * width - 0.4 for at in range(len(WHERE))]
        values = [[scale * value for value in _values(own, where, figure)] for where in WHERE]
        colour = colours.get(name, plots.GREY)
        hatch = "///" if name == AS_SHIPPED else None
        means = [mean(each) for each in values]
        axis.bar(places, means, 0.9 * width, color=colour, hatch=hatch, label=_TITLES[name])
        for place, each in zip(places, values, strict=True):
            if len(each) > 1:
                axis.plot([place] * len(each), each, "k.", markersize=3)
    axis.set_xticks(range(len(WHERE)), [name.replace("-", "-\n") for name in WHERE], fontsize=7)
    axis.axhline(0.0, color="black", linewidth=0.6)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``studies.study.conduct`` for the exit codes."""
    return conduct(tyro.cli(WalkAblation, args=arguments, prog="minitaur walk-ablation"))


if __name__ == "__main__":
    sys.exit(main())
