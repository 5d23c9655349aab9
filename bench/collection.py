"""Benchmark: what worker processes and the trainer make of this computer.

The trainer's steps per second, updates included, and those of all workers without it, each over so
many times the rate of one worker. All have the same plants, since a control step of a drawn plant
takes 1 to 20 ticks; start-up is left out. And the memory that a worker shares with no other
process.
`python -m bench.collection`; with `--ray` the workers of Ray on this computer as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from multiprocessing import active_children
from pathlib import Path

from bench.common import Entry, write_entries
from training.rollout.episode import Stream
from training.rollout.samplers import RolloutSpec, make_sampler
from training.runs.config import SamplerKind, TrainConfig
from training.runs.presets import get_config
from training.train import train

_WORKERS_LIMIT, _RAY_LIMIT, _TRAINER_LIMIT, _MEMORY_LIMIT_MB = 0.93, 0.88, 0.85, 120.0


class Workers:
    """A sampler that is warm.

    Args:
        config: What the episodes are.
        kind: Of the sampler.
        workers: How many.
    """

    def __init__(self, config: TrainConfig, kind: SamplerKind, workers: int) -> None:
        from training.runs.trainer import make_learner  # with torch; workers import this module

        self._policy = make_learner(config).snapshot()
        self._sampler = make_sampler(RolloutSpec.of(config), workers, kind)
        self.steps_per_s(range(2 * workers))  # all have started

    def steps_per_s(self, episodes: range) -> float:
        """Collect these episodes."""
        start_s = time.perf_counter()
        found = self._sampler.collect(self._policy, Stream.TRAINING, episodes)
        return sum(map(len, found)) / (time.perf_counter() - start_s)

    def close(self) -> None:
        """End the workers."""
        self._sampler.close()


def own_memory_mb() -> float:
    """Return the most memory that a child process shares with no other, MB (Linux)."""
    return max(_own_memory_mb(child.pid) for child in active_children() if child.pid)


def _own_memory_mb(pid: int) -> float:
    kb = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            kb += int(line.split()[1])
    return kb / 1024


def trainer_steps_per_s(config: TrainConfig) -> tuple[float, int]:
    """Measure the trainer from its first update on; return steps per second, and all updates."""
    with tempfile.TemporaryDirectory() as folder:
        rows = list(train(config, Path(folder)))
    updates = [row for row in rows if row.kind == "update"]
    steps = updates[-1].steps - updates[0].steps
    return steps / (updates[-1].wall_seconds - updates[0].wall_seconds), len(updates)


def main() -> None:
    """Measure and write the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="trot")
    parser.add_argument("--steps", type=int, default=40_000, help="steps to train for in a round")
    parser.add_argument("--rounds", type=int, default=2, help="trainer, one worker, all, ...")
    parser.add_argument("--ray", action="store_true", help="measure the sampler ray beside them")
    args = parser.parse_args()
    config = dataclasses.replace(
        get_config(args.config),
        total_steps=args.steps,
        eval_every_updates=10**9,
        checkpoint_every_updates=10**9,
    )
    count = config.workers
    kinds: dict[str, tuple[SamplerKind, int]] = {"one": ("process", 1), "all": ("process", count)}
    if args.ray:
        kinds["ray"] = ("ray", count)
    rates: dict[str, list[float]] = {name: [] for name in (*kinds, "trainer")}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(closing(Workers(config, *kind)))
            for name, kind in kinds.items()
        }
        memory_mb = own_memory_mb()
        for _ in range(args.rounds):
            rate, updates = trainer_steps_per_s(config)
            rates["trainer"].append(rate)
            batch = config.episodes_per_update
            for name in kinds:
                rates[name].append(workers[name].steps_per_s(range(batch, batch * updates)))
    limits = {"all": _WORKERS_LIMIT, "ray": _RAY_LIMIT, "trainer": _TRAINER_LIMIT}
    titles = {"all": "collection_workers", "ray": "collection_ray", "trainer": "training_workers"}
    how = f"{args.config}, {args.rounds} rounds; steps/s over {count} x one worker process"
    entries = []
    for name, title in titles.items():
        if name not in rates:
            continue
        pairs = zip(rates[name], rates["one"], strict=True)
        share = statistics.median(rate / (count * one) for rate, one in pairs)
        print(
            f"{title}: {statistics.median(rates[name]):.0f} steps/s, {count} x "
            f"{statistics.median(rates['one']):.0f} of one worker, {share:.3f} (at least "
            f"{limits[name]})"
        )
        entries.append(Entry(title, share, "1", f"{how}; higher is better", limit=limits[name]))
    print(f"worker_memory: {memory_mb:.0f} MB of its own (at most {_MEMORY_LIMIT_MB:.0f})")
    how = f"{args.config}, private pages of a worker process; lower is better"
    entries.append(Entry("worker_memory", memory_mb, "MB", how, limit=_MEMORY_LIMIT_MB))
    write_entries(entries)


if __name__ == "__main__":
    main()
