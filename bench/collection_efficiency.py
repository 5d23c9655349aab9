"""Benchmark: the share of the machine that training turns into environment steps.

The trainer's rate, updates included, over that of as many single environments, each alone: the
same first episodes, under the same first policy, stepped in one process with nothing else to do.
Start-up, evaluations and checkpoints are left out. `python -m bench.collection_efficiency`.
With `--ray` the trainer runs with workers of Ray on this computer as well, in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from bench.common import Entry, write_entries
from training.rollout.episode import Stream
from training.rollout.samplers import EpisodeRunner, RolloutSpec
from training.runs.config import TrainConfig
from training.runs.presets import get_config
from training.runs.progress import ProgressRow
from training.runs.trainer import make_learner
from training.train import train

_LIMIT = 0.85


def single_steps_per_s(config: TrainConfig) -> float:
    """Measure one environment, alone on the machine: control steps per second."""
    policy = make_learner(config).snapshot()
    runner = EpisodeRunner(RolloutSpec.of(config))
    episodes = runner.collect(policy, Stream.TRAINING, range(config.episodes_per_update))
    runner.close()
    return sum(map(len, episodes)) / sum(episode.env_seconds for episode in episodes)


def trainer_steps_per_s(config: TrainConfig) -> float:
    """Measure the trainer from its first update on: environment steps per second."""
    rows: list[ProgressRow] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(config, Path(folder), on_progress=rows.append):
            pass
    updates = [row for row in rows if row.kind == "update"]
    steps = updates[-1].steps - updates[0].steps
    return steps / (updates[-1].wall_seconds - updates[0].wall_seconds)


def main() -> None:
    """Measure and write the entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="trot")
    parser.add_argument("--steps", type=int, default=100_000, help="steps to train for")
    parser.add_argument("--rounds", type=int, default=3, help="single, trainer, single, ...")
    parser.add_argument("--ray", action="store_true", help="measure the sampler ray beside it")
    args = parser.parse_args()
    config = dataclasses.replace(
        get_config(args.config),
        total_steps=args.steps,
        eval_every_updates=10**9,
        checkpoint_every_updates=10**9,
    )
    ratios, singles, trainers, actors = [], [], [], []
    for _ in range(args.rounds):
        singles.append(single_steps_per_s(config))
        trainers.append(trainer_steps_per_s(config))
        if args.ray:
            actors.append(trainer_steps_per_s(dataclasses.replace(config, sampler="ray")))
        ratios.append(trainers[-1] / (config.workers * singles[-1]))
    efficiency = statistics.median(ratios)
    print(
        f"collection_efficiency: {statistics.median(trainers):.0f} steps/s training, "
        f"{config.workers} x {statistics.median(singles):.0f} single, efficiency {efficiency:.3f}"
    )
    how = (
        f"{args.config}, {config.workers} workers, median of {args.rounds} alternating rounds of "
        f"{args.steps} steps: trainer steps/s, updates included, over workers x "
        "single-environment steps/s; higher is better"
    )
    entry = Entry(name="collection_efficiency", ours=efficiency, limit=_LIMIT, unit="1", how=how)
    write_entries([entry, *_beside(trainers, actors, args.config)])


def _beside(processes: list[float], actors: list[float], config: str) -> list[Entry]:
    """Return the entry of the sampler ray, if it was measured."""
    if not actors:
        return []
    ours, peer = statistics.median(actors), statistics.median(processes)
    ratio = statistics.median(a / b for a, b in zip(actors, processes, strict=True))
    print(f"collection_ray: {ours:.0f} steps/s training, {ratio:.3f} of that with processes")
    how = f"{config}, trainer steps/s with the sampler ray and with processes; higher is better"
    return [Entry("collection_ray", ours, "steps/s", how, peer=peer, ratio=ratio)]


if __name__ == "__main__":
    main()
