"""Sweep: train one configuration over several seeds, and over ranges of its numbers.

``minitaur sweep --help`` explains the options. Every training is an ordinary run folder, made by
:func:`training.train.train`. A trial is one set of values, trained with every seed. What a sweep
has done is in its folder: the same command goes on there.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from deploy.files import write_atomically, write_json, write_somewhere
from robot_firmware_bridge.command_line import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    command,
)
from training.errors import ConfigError, TrainingDivergedError
from training.runs.config import TrainConfig
from training.sweeps.folder import Settings, SweepFolder
from training.sweeps.picture import draw
from training.sweeps.results import RETURN, Trial, best_of, figures, page, read_trial, table
from training.sweeps.space import Space, Values, described, grid, parse_space, with_values
from training.train import (
    Arguments,
    OwnCount,
    OwnName,
    OwnRun,
    Robots,
    can_export,
    configured,
    show_log,
    train,
)

if TYPE_CHECKING:
    from training.sweeps.trials import Trials

_MAX_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line.

    Attributes:
        config: Name of the configuration; minitaur train --list has them.
        vary: What to vary, each NAME=VALUE,VALUE,... or NAME=LOW..HIGH or NAME=LOW..HIGH:log. NAME
            is the dotted name of any number in config.json of a run, such as
            ppo.policy_learning_rate or task_kwargs.reward.energy. A single VALUE replaces the
            configuration's own.
        seeds: Every trial is trained with the seeds 0, 1, ... so many.
        trials: How many sets of values to try. Needed with a range; of lists alone it is every
            combination by default.
        out: Folder of the sweep.
        score: Metric of the evaluation to compare by, such as return or speed_mps.
        workers: Processes that step environments; 0 for none besides the trainer.
        device: Torch device of the update.
        total_steps: Environment steps of every training.
        start_from: Run folder or checkpoint file to take the first networks from.
        plant: Physics to train on, such as mujoco.
        params: Calibrated plant, as in minitaur train.
        randomization: Ranges to draw plants from, as in minitaur train.
    """

    config: Annotated[str, arg(metavar="NAME")]
    vary: Annotated[tuple[str, ...], arg(metavar="NAME=VALUES", help_behavior_hint="")] = ()
    seeds: Annotated[int, arg(metavar="N")] = 3
    trials: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: every combination)")
    ] = None
    out: Annotated[
        Path | None, arg(metavar="PATH", help_behavior_hint="(default: runs/sweep-CONFIG)")
    ] = None
    score: Annotated[str, arg(metavar="METRIC")] = RETURN
    workers: OwnCount = None
    device: OwnName = None
    total_steps: OwnCount = None
    start_from: OwnRun = None
    plant: OwnName = None
    params: Robots = None
    randomization: OwnName = None


_DESCRIPTION = """Train a configuration over several seeds, and over ranges of its numbers.

Without --vary it is trained with every seed. With it, a trial is a set of values, trained with
every seed: every combination of lists, or as many as --trials says. With a range, ten trials are
drawn at random, and Optuna chooses the rest where the scores are good. Trials are compared by the
mean over the seeds of the best evaluation, that of best.pt.

OUT gets a run folder for every training (for minitaur export and curves), and after each of them
results.md (the table, best first), results.json and results.png.

The same command goes on where it was stopped, however it was stopped; the order of options does not
matter. More --trials or --seeds go on in the same folder, too. Any other change is refused there:
name another --out. A training that diverges is a failed one, and the others go on; to see why, run
minitaur replay RUN. Exit code 1 says that some failed.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep as it was asked for, checked.

    Attributes:
        settings: What decides it.
        space: What is varied.
        seeds: Trainings of a trial.
        trials: Trials wanted.
        path: Its folder.
    """

    settings: Settings
    space: Space
    seeds: int
    trials: int
    path: Path


def base_config(options: Options) -> TrainConfig:
    """Return the configuration of a command line, with nothing varied.

    Raises:
        ConfigError: Unknown configuration, or impossible value.
        ParameterError: The calibrated plant cannot be read, or there are no such ranges.
    """
    names = ("config", "workers", "device", "total_steps", "start_from", "plant", "params")
    return configured(Arguments(**{n: getattr(options, n) for n in (*names, "randomization")}))


def plan(options: Options, config: TrainConfig) -> Plan:
    """Return the sweep of a configuration, after all that can be checked without its task.

    Raises:
        ConfigError: An option, or a value to be tried, is impossible.
    """
    for name in ("seeds", "trials"):
        count = getattr(options, name)
        if count is not None and not 1 <= count <= _MAX_COUNT:
            raise ConfigError(f"--{name} must be in [1, {_MAX_COUNT}], got {count}")
    if options.score not in (RETURN, config.score_metric):
        # Its target is of another metric, and would end the training.
        config = replace(
            config, score_metric=options.score, score_milestone=None, score_target=None
        )
    space = parse_space(options.vary, config)
    rewards = [name for name in space if "kwargs.reward." in name]
    if rewards and options.score == RETURN:
        raise ConfigError(
            f"--vary {rewards[0]} changes what a return is: compare by another metric, such as "
            "--score speed_mps"
        )
    settings = Settings(config, {name: str(each) for name, each in space.items()}, options.score)
    path = options.out or Path("runs", f"sweep-{config.name}")
    return Plan(settings, space, options.seeds, _trials(space, options.trials), path)


def _trials(space: Space, wanted: int | None) -> int:
    """Return how many trials there are to be: no more than there are combinations."""
    combinations = grid(space)
    if not space and wanted is not None:
        raise ConfigError("--trials is for --vary; without it there is one trial, of all seeds")
    if combinations is not None:
        return min(wanted or len(combinations), len(combinations))
    if wanted is None:
        raise ConfigError("--vary has a range: say how many values to try, --trials N")
    return wanted


class Screen:
    """What a person sees of a sweep: a line for every training, and a bar on a terminal."""

    def __init__(self, sweep: Plan, trials: int, console: Console) -> None:
        self._console = console
        self._sweep = sweep
        self._of = trials
        self._steps = sweep.settings.config.total_steps
        self._done = self._trained = 0
        self._trained_s = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("to go; {task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=3600.0,
        )
        total = trials * sweep.seeds * self._steps
        self._task = self._bar.add_task("", total=total, best="no trial is whole yet")

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, number: int, seed: int) -> None:
        """Show which training is under way."""
        name = f"trial {number} of {self._of}, seed {seed}"
        self._bar.update(self._task, description=name)

    def steps(self, steps: int) -> None:
        """Show how far the training under way is."""
        completed = self._done * self._steps + min(steps, self._steps)
        self._bar.update(self._task, completed=completed)

    def ended(
        self, number: int, trial: Trial, seed: int, best: Trial | None, took_s: float | None
    ) -> None:
        """Show what came of a training; None says that it was done before."""
        self._done += 1
        self.steps(0)
        training, score = trial.trainings[seed], self._sweep.settings.score
        found = "not finished" if training.score is None else f"{score} {training.score:.4g}"
        if training.failure is not None:
            found = f"failed: {training.failure}"
        values = f" ({described(trial.values)})" if trial.values else ""
        name = f"trial {number} of {self._of}{values}, seed {seed}"
        line = f"{name}: {found} ({self._times(took_s)})"
        if best is not None:
            far = f"best {best.mean:.4g} in trial {best.number}"
            self._bar.update(self._task, best=far)
            line += f"; {far}"
        self.line(line)

    def _times(self, took_s: float | None) -> str:
        """Return what a training took, and what the others will take at the mean so far."""
        if took_s is None:
            return "done before"
        self._trained += 1
        self._trained_s += took_s
        left = self._of * self._sweep.seeds - self._done
        left_s = round(left * self._trained_s / self._trained)
        return f"{took_s:.0f} s, {timedelta(seconds=left_s)} to go"

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def check_values(config: TrainConfig, space: Space) -> None:
    """Refuse a value that the task or the learner does not take, by making them with it.

    Raises:
        ConfigError: Names the value.
    """
    from training.runs.trainer import make_learner

    make_learner(config)
    for name, varied in space.items():
        for value in varied.ends:
            try:
                make_learner(with_values(config, {name: value}))
            except ConfigError as error:
                raise ConfigError(f"--vary {name}={value}: {error}") from error


class Conductor:
    """Trains what is missing of a sweep, one training after another, and writes the results."""

    def __init__(self, sweep: Plan, folder: SweepFolder, trials: Trials, screen: Screen) -> None:
        self._sweep = sweep
        self._folder = folder
        self._trials = trials
        self._screen = screen
        self._found: dict[int, Trial] = {}

    @property
    def found(self) -> list[Trial]:
        """What is read of the trials, without those that are another one again."""
        return list(self._found.values())

    def conduct(self, number: int) -> None:
        """Train what is missing of a trial, and give it its score."""
        values, first = self._trials.values(number), self._trials.first_like(number)
        if first != number:
            self._screen.line(f"trial {number} is trial {first} again: {described(values)}")
        for seed in range(self._sweep.seeds):
            self._screen.begin(number, seed)
            took_s = self._train(first, seed, values)
            trial = read_trial(self._folder, first, values, self._sweep.seeds, self._sweep.settings)
            self._found[first] = trial
            self._screen.ended(number, trial, seed, best_of(self.found), took_s)
            if took_s is not None:
                self.write()
        self._trials.tell(number, trial.mean if trial.is_whole else None)

    def _train(self, number: int, seed: int, values: Values) -> float | None:
        """Train, or go on training; return the time taken, None if there was nothing to do."""
        config = replace(with_values(self._sweep.settings.config, values), seed=seed)
        run, start_s = self._folder.run(number, seed, config.name), time.monotonic()
        if run.finished.exists() or run.failure.exists():
            return None
        with contextlib.suppress(TrainingDivergedError):  # the run folder remembers it
            for _ in train(config, run.path, on_steps=self._screen.steps):
                pass
        return time.monotonic() - start_s

    def write(self) -> None:
        """Write table, figures and picture.

        Raises:
            OSError: The disk is full or fails.
        """
        sweep, path = self._sweep, self._folder.results
        write_atomically(path, page(self.found, sweep.space, sweep.settings).encode())
        write_json(path.with_suffix(".json"), figures(self.found, sweep.settings))
        draw_it = partial(draw, self.found, sweep.space, sweep.settings)
        write_somewhere(path.with_suffix(".png"), draw_it)


def conduct(sweep: Plan, console: Console) -> int:
    """Train what is missing of a sweep, and write its results; return the exit code.

    Raises:
        TrainingError: The folder is in use or holds another sweep, a value is impossible, or a
            training cannot go on.
        OSError: The results cannot be written.
    """
    # Workers need no Optuna. It is missed before a folder is made.
    from training.sweeps.trials import Trials

    check_values(sweep.settings.config, sweep.space)
    folder = SweepFolder(sweep.path)
    try:
        with folder.opened(sweep.settings):
            trials = Trials(folder.journal, sweep.space)
            wanted = max(sweep.trials, len(trials))
            with Screen(sweep, wanted, console) as screen:
                screen.line(f"sweeping {sweep.settings.config.name} in {sweep.path}")
                conductor = Conductor(sweep, folder, trials, screen)
                for number in range(1, wanted + 1):
                    conductor.conduct(number)
            conductor.write()
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on in {sweep.path}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return _tell_end(sweep, folder, conductor.found)


def _tell_end(sweep: Plan, folder: SweepFolder, trials: Sequence[Trial]) -> int:
    """Print the table and what to do next; return the exit code."""
    print(table(trials, sweep.space, sweep.settings.score))
    names = (folder.results.with_suffix(suffix) for suffix in (".md", ".json", ".png"))
    print(f"wrote {', '.join(map(str, names))}")
    if (best := best_of(trials)) is not None and can_export(sweep.settings.config):
        print(f"next: make export RUN={best.best.folder.best}")
    missing = [each for trial in trials for each in trial.trainings if each.score is None]
    for each in missing:
        why = each.failure or "not finished"
        print(f"failed: {each.folder.path.name}: {why}", file=sys.stderr)
    return EXIT_FAULT if missing else EXIT_OK


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur sweep", description=_DESCRIPTION)
    sweep, console = plan(options, base_config(options)), Console()
    show_log(console)
    return conduct(sweep, console)


if __name__ == "__main__":
    sys.exit(main())
