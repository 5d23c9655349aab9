"""Train a policy: from the command line, or from a notebook.

    minitaur train --config pendulum

    from training.train import get_config, train
    for progress in train(get_config("pendulum"), "runs/notebook"):
        print(progress.steps, progress.mean_return)

Worker processes import this module again (it is their ``__main__``), so torch is imported only
where training begins.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import arg

from robot_firmware_bridge.command_line import EXIT_INTERRUPTED, EXIT_OK, command
from sim.plant.params import differing
from sim.plant.params_file import read_params
from sim.plant.randomization import Ranges, randomization_named
from training.errors import ConfigError, RunFolderError
from training.runs.config import (
    RESOURCES,
    LoggerKind,
    SamplerKind,
    TrainConfig,
    config_differences,
)
from training.runs.folder import RunFolder, choose_run
from training.runs.presets import default, describe_configs, get_config

if TYPE_CHECKING:
    from training.runs.progress import ProgressRow

# In the place of a calibrated plant: the robot of the paper.
_NOMINAL = "nominal"

__all__ = ["get_config", "main", "train"]


def train(
    config: TrainConfig,
    run_dir: Path | str,
    *,
    on_steps: Callable[[int], None] | None = None,
    retry: bool = False,
) -> Iterator[ProgressRow]:
    """Train in a run folder; yield its progress after every update and every evaluation.

    The first evaluation is before the first update. Whoever stops to iterate stops the run: its
    workers end, and its state is saved. An unfinished run of this configuration in the folder is
    resumed, and ends bit for bit as if it had never stopped. A finished one yields nothing. The
    folder is made if absent; if the run cannot begin, it is removed again.

    Args:
        config: What to train.
        run_dir: Folder of the run.
        on_steps: Called with the steps done, whenever an episode is.
        retry: Go on with a run that broke off, by a number that is not finite or an error of its
            environment, although it would do so again if nothing was mended.

    Raises:
        TrainingError: Bad configuration, folder in use, no usable checkpoint, divergence, a run
            that broke off before, or one whose last state cannot be saved.
    """
    from training.rollout.samplers import end_worker_that_imports_work

    end_worker_that_imports_work()  # before torch, which takes seconds
    from training.runs.failure import forget, refuse_to_repeat
    from training.runs.trainer import Trainer

    folder = RunFolder(Path(run_dir))
    with folder.opened(config):
        if folder.finished.exists():
            return
        if retry:
            forget(folder)
        refuse_to_repeat(folder)
        yield from Trainer(config, folder, on_steps).run()


# Beside this interpreter, which may not be on the PATH.
_PYTHON = Path(sys.executable)
_NEAR = _PYTHON.relative_to(Path.cwd()) if _PYTHON.is_relative_to(Path.cwd()) else _PYTHON
_TENSORBOARD = shlex.join((str(_NEAR), "-m", "tensorboard.main"))
_CONFIGS_OWN = "(default: the configuration's own)"
# Options that a sweep has too.
OwnCount = Annotated[int | None, arg(metavar="N", help_behavior_hint=_CONFIGS_OWN)]
OwnName = Annotated[str | None, arg(metavar="NAME", help_behavior_hint=_CONFIGS_OWN)]
OwnRun = Annotated[str | None, arg(metavar="RUN", help_behavior_hint=_CONFIGS_OWN)]
Robots = Annotated[
    str | None,
    arg(metavar="FILE|NAME[,...]", help_behavior_hint="(default: the nominal robot)"),
]


@dataclass(frozen=True, slots=True)
class Arguments:
    """Options of the command line.

    Attributes:
        config: Name of the configuration.
        logdir: Folder of run folders.
        timestamp: Run folder LOGDIR/TIMESTAMP-CONFIG; resumed if it exists.
        workers: Processes that step environments; 0 for none besides the trainer.
        sampler: What the workers are: processes of this computer, or actors of Ray, which may be on
            other computers.
        address: Ray cluster to join; without it the sampler ray starts one on this computer.
        device: Torch device of the update.
        logger: Where the curves go: tensorboard for files in the run folder, wandb for these and
            Weights & Biases besides.
        seed: Seed of all randomness.
        total_steps: Environment steps to train for.
        start_from: Run folder or checkpoint file to take the first networks from.
        plant: Physics to train on, such as mujoco, which runs where PyBullet does not.
        params: Calibrated plant in the place of the nominal robot: a file that `make calibrate`
            wrote, the name of one that ships, or nominal. Of several, separated by commas, each
            episode takes one. The run keeps their values and needs no file any more.
        randomization: Ranges to draw plants from: none, table1, beyond, original or measured (the
            intervals of PARAMS). With PARAMS, the ranges are about that plant.
        retry: Go on with a run that broke off by a number that is not finite, or by an error of its
            environment; `minitaur replay` shows that again, as long as nobody retried.
        list: Print the configurations and exit.
    """

    config: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(see above)")] = None
    logdir: Path = Path("runs")
    timestamp: Annotated[
        str | None,
        arg(metavar="TIMESTAMP", help_behavior_hint="(default: resume, or start, the newest)"),
    ] = None
    workers: OwnCount = None
    sampler: Annotated[SamplerKind | None, arg(help_behavior_hint=_CONFIGS_OWN)] = None
    address: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint=_CONFIGS_OWN)] = None
    device: OwnName = None
    logger: Annotated[LoggerKind | None, arg(help_behavior_hint=_CONFIGS_OWN)] = None
    seed: OwnCount = None
    total_steps: OwnCount = None
    start_from: OwnRun = None
    plant: OwnName = None
    params: Robots = None
    randomization: OwnName = None
    retry: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


_DESCRIPTION = f"""Train a policy.

A run lives in LOGDIR/TIMESTAMP-CONFIG. The same command again resumes it if it was
stopped, however it was stopped, and ends with the same policy. Watch it with
`{_TENSORBOARD} --logdir runs`; export the result with `make export RUN=...`.

Configurations, of training/runs/presets.py (add your own there):

"""


def configured(arguments: Arguments) -> TrainConfig:
    """Return the configuration that a command line asks for, in whatever folder.

    Raises:
        ConfigError: Unknown configuration, or impossible value.
        ParameterError: The calibrated plant cannot be read, or there are no such ranges.
    """
    return _asked(arguments)[0]


def _asked(arguments: Arguments) -> tuple[TrainConfig, dict[str, Any], dict[str, Any]]:
    """Return the configuration, and of it the fields and the plants that options have set."""
    if arguments.config is None:
        raise ConfigError(f"--config is needed; there are:\n{describe_configs()}")
    chosen = {
        name: value
        for name in (*RESOURCES, "seed", "total_steps", "start_from")
        if (value := getattr(arguments, name)) is not None
    }
    config = replace(get_config(arguments.config), **chosen)
    _require_ray(arguments.address, config)
    drawn = _plants(config, arguments)
    if arguments.plant is not None:
        drawn["plant"] = arguments.plant
    config = replace(config, task_kwargs={**config.task_kwargs, **drawn})
    # Where the configuration is evaluated on the nominal robot, it is so on each robot as it is.
    if (robots := drawn.get("robots")) and config.eval_kwargs.get("randomization") == "none":
        as_they_are = [{**robot, "randomization": {}} for robot in robots]
        config = replace(config, eval_kwargs={**config.eval_kwargs, "robots": as_they_are})
    return config, chosen, drawn


def resolve(arguments: Arguments) -> tuple[TrainConfig, RunFolder]:
    """Return the configuration and run folder of a command line.

    Raises:
        ConfigError: Unknown configuration, impossible value, or a value that contradicts the
            folder to resume.
        ParameterError: The calibrated plant cannot be read, or there are no such ranges.
        RunFolderError: The timestamp belongs to another configuration.
    """
    config, chosen, drawn = _asked(arguments)
    folder = choose_run(arguments.logdir, config, arguments.timestamp)
    if arguments.timestamp is None or not folder.config_path.exists():
        return config, folder
    # A folder that was named is resumed with its own configuration, even if the one of that name
    # has changed since.
    saved = folder.config()
    for name in chosen.keys() & {"seed", "total_steps", "start_from"}:
        if chosen[name] != getattr(saved, name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{folder.path} was made with {option} {getattr(saved, name)}: leave {option} "
                "out to resume it, or leave --timestamp out for a new run"
            )
    own = "pybullet-duck" if saved.task.endswith("Duck-v0") else "pybullet"
    before = {"plant": own, **saved.task_kwargs}
    asked = {**before, **drawn}
    if arguments.params is not None and "robots" not in drawn:
        asked.pop("robots", None)  # one robot was named, and no other
    differences = config_differences(
        replace(saved, task_kwargs=asked), replace(saved, task_kwargs=before)
    )
    if differences:
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise ConfigError(
            f"{folder.path} was made on other plants ({differences[0]}{more}): leave --params, "
            "--randomization and --plant out to resume it, or leave --timestamp out for a new run"
        )
    resumed = replace(saved, **{k: v for k, v in chosen.items() if k in RESOURCES})
    return resumed, folder


def _require_ray(address: str | None, config: TrainConfig) -> None:
    """Refuse the address of a cluster that nobody would join."""
    if address and config.sampler != "ray":
        raise ConfigError("--address is that of a Ray cluster: it needs --sampler ray")


def _plants(config: TrainConfig, arguments: Arguments) -> dict[str, Any]:
    """Return the arguments of the environment that say which plants it draws.

    Those of a calibrated plant are its values and ranges, not its name: they decide the run.
    """
    if arguments.params is None and arguments.randomization is None:
        return {}
    if config.task == default().task:
        raise ConfigError(
            f"--params and --randomization need a task with a Minitaur; {config.name} trains "
            f"{config.task}: leave them out"
        )
    ranges: Any = arguments.randomization or config.task_kwargs.get("randomization", "none")
    if arguments.params is None:
        randomization_named(ranges)  # refuses an unknown one
        return {"randomization": ranges}
    names = [each.strip() for each in arguments.params.split(",")]
    if "" in names:
        raise ConfigError(f"--params {arguments.params!r} has an empty name: mind the commas")
    first, *others = (_plants_of(each, ranges) for each in names)
    return {**first, "robots": others} if others else first


def _plants_of(robot: str, randomization: str | Ranges) -> dict[str, Any]:
    """Return the plants of one robot, as ``LocomotionEnv`` takes them."""
    plant = None if robot == _NOMINAL else read_params(robot)
    found = randomization_named(randomization, plant)
    return {"nominal": differing(found.nominal), "randomization": dict(found.ranges)}


class _ConsoleHandler(logging.Handler):
    """Prints log messages above the progress bar, one line each."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def show_log(console: Console) -> None:
    """Print the log messages of trainings on a console, above its progress bar."""
    logger = logging.getLogger("training")
    logger.setLevel(logging.INFO)
    logger.addHandler(_ConsoleHandler(console))


def run(arguments: Arguments, console: Console) -> int:
    """Train as the command line says; return the exit status."""
    # Before a folder is made, since torch comes with it and may not be installed.
    import training.runs.trainer  # noqa: F401
    from training.runs.progress import ConsoleProgress

    config, folder = resolve(arguments)
    console.print(f"training {config.name} in {folder.path}", soft_wrap=True, highlight=False)
    try:
        with ConsoleProgress(config, console) as progress:
            for row in train(
                config, folder.path, on_steps=progress.show_steps, retry=arguments.retry
            ):
                progress.show(row)
    except KeyboardInterrupt:
        print(f"interrupted; the same command resumes {folder.path}", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(_describe_end(config, folder))
    return EXIT_OK


def can_export(config: TrainConfig) -> bool:
    """Return whether the task has a robot's contract, so that its policies can be exported."""
    from training.rollout.episode import Stream
    from training.rollout.samplers import EpisodeRunner, RolloutSpec

    with contextlib.closing(EpisodeRunner(RolloutSpec.of(config))) as runner:
        env = runner.env(Stream.EVALUATION).unwrapped
    return getattr(env, "contract", None) is not None


def _next_step(config: TrainConfig, folder: RunFolder) -> str:
    """Return what to do with a finished run."""
    if can_export(config):
        return f"next: make export RUN={folder.path}"
    return f'next: make curves RUNS="{folder.path}" (this task has no robot to export a policy for)'


def _describe_end(config: TrainConfig, folder: RunFolder) -> str:
    """Return the summary of a finished run as text."""
    try:
        end = json.loads(folder.finished.read_text())
        return _summary(config, folder, end)
    except (ValueError, LookupError, TypeError) as error:
        raise RunFolderError(
            f"{folder.finished} is damaged: remove it, and the same command writes it anew"
        ) from error


def _summary(config: TrainConfig, folder: RunFolder, end: dict[str, Any]) -> str:
    from training.runs.progress import read_rows

    metric, efficiency = end["score_metric"], end["collection_efficiency"]
    rows = [row for row in read_rows(folder.progress) if row.kind == "evaluation"]
    before = [f"before training {row.score:.4g}, " for row in rows if row.update == 0]
    lines = [
        f"finished {end['config']}: {end['steps']:,} steps, {end['update']} updates, "
        f"{end['wall_seconds']:.0f} s",
        f"  {metric}: {''.join(before)}last {end['last_score']:.4g}, of the most return "
        f"{end['best_score']:.4g} (update {end['best_update']})",
        f"  collect {end['collect_seconds']:.0f} s, update {end['update_seconds']:.0f} s, evaluate "
        f"{end['eval_seconds']:.0f} s"
        + ("" if efficiency is None else f"; collection efficiency {efficiency:.2f}"),
    ]
    if (steps := end["milestone_steps"]) is not None:
        reached = f"first reached after {steps:,} steps, {end['milestone_seconds']:.0f} s"
        lines.append(f"  {metric} {end['milestone']:g} {reached}")
    return "\n".join([*lines, _next_step(config, folder)])


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # tyro joins lines into paragraphs, so each configuration is made one.
    description = _DESCRIPTION + describe_configs().replace("\n", "\n\n")
    chosen = tyro.cli(Arguments, args=arguments, prog="minitaur train", description=description)
    if chosen.list:
        print(describe_configs())
        return 0
    console = Console()
    show_log(console)
    return run(chosen, console)


if __name__ == "__main__":
    sys.exit(main())
