import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import python
from support.processes import ForkedProcess, has_ended, until
from support.training import assert_same_episodes, train_until_interrupted

from training.errors import ConfigError, SamplerError
from training.rollout.episode import Episode, Stream
from training.rollout.policy import PolicySnapshot
from training.rollout.samplers import EpisodeRunner, ProcessSampler, RolloutSpec, make_sampler
from training.runs.config import config_to_json
from training.runs.presets import pendulum

SPEC = RolloutSpec(0, "MinitaurStack/InvertedPendulum-v0", {"max_steps": 100}, {"max_steps": 30})


@pytest.fixture
def reference(balancing_snapshot: PolicySnapshot) -> list[Episode]:
    sampler = EpisodeRunner(SPEC)
    episodes = sampler.collect(balancing_snapshot, Stream.TRAINING, range(6))
    sampler.close()
    return episodes


@pytest.mark.parametrize("workers", [1, 3])
def test_episodes_do_not_depend_on_the_number_of_workers(
    workers: int, balancing_snapshot: PolicySnapshot, reference: list[Episode]
) -> None:
    sampler = make_sampler(SPEC, workers)
    assert_same_episodes(sampler.collect(balancing_snapshot, Stream.TRAINING, range(6)), reference)
    evaluated = sampler.collect(balancing_snapshot, Stream.EVALUATION, [1])
    assert len(evaluated[0]) == 30
    sampler.close()


def test_a_killed_worker_costs_its_episodes_and_they_are_run_again(
    balancing_snapshot: PolicySnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    spec = RolloutSpec(0, SPEC.task, {"max_steps": 3_000}, {})  # long enough to be hit mid-way
    sampler = ProcessSampler(spec, 2)
    sampler.collect(balancing_snapshot, Stream.EVALUATION, [0, 1])
    victim = multiprocessing.active_children()[0]
    threading.Timer(0.1, os.kill, (victim.pid, signal.SIGKILL)).start()
    episodes = sampler.collect(balancing_snapshot, Stream.TRAINING, range(4))
    sampler.close()
    assert "a worker process died" in caplog.text
    alone = EpisodeRunner(spec)
    assert_same_episodes(episodes, alone.collect(balancing_snapshot, Stream.TRAINING, range(4)))
    alone.close()


def test_a_worker_killed_between_batches_is_replaced(
    balancing_snapshot: PolicySnapshot, reference: list[Episode], caplog: pytest.LogCaptureFixture
) -> None:
    sampler = ProcessSampler(SPEC, 1)
    sampler.collect(balancing_snapshot, Stream.TRAINING, [0])
    (victim,) = multiprocessing.active_children()
    victim.kill()
    victim.join()
    assert_same_episodes(sampler.collect(balancing_snapshot, Stream.TRAINING, range(6)), reference)
    sampler.close()


def test_an_error_in_a_worker_is_the_samplers_own(balancing_snapshot: PolicySnapshot) -> None:
    sampler = ProcessSampler(RolloutSpec(0, "MinitaurStack/Nowhere-v0", {}, {}), 1)
    with pytest.raises(ConfigError, match="cannot make task MinitaurStack/Nowhere-v0"):
        sampler.collect(balancing_snapshot, Stream.TRAINING, [0])
    sampler.close()


def test_workers_that_die_over_and_over_end_the_run(
    balancing_snapshot: PolicySnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = ProcessSampler(RolloutSpec(0, "support.training:Test/Deadly-v0", {}, {}), 1)
    with pytest.raises(SamplerError, match="without finishing an episode: --workers 0 shows why"):
        sampler.collect(balancing_snapshot, Stream.TRAINING, [0])
    assert caplog.records[0].levelno >= logging.WARNING


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
def test_workers_end_quietly_with_an_interrupted_trainer(name: str, tmp_path: Path) -> None:
    config = replace(pendulum(), workers=2, episodes_per_update=300)
    number = signal.Signals[name]
    process = ForkedProcess(
        tmp_path, train_until_interrupted, config_to_json(config), tmp_path / "run", number
    )
    code, printed, errors = process.wait()
    assert (code, printed) == (0, "interrupted\n")
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-00000000.pt").exists()


@pytest.mark.parametrize(
    ("task", "kwargs"),
    [("MinitaurStack/Nowhere-v0", {}), (SPEC.task, {"no_such_argument": 1})],
)
def test_a_wrong_task_is_a_config_error(
    task: str, kwargs: dict[str, int], balancing_snapshot: PolicySnapshot
) -> None:
    sampler = EpisodeRunner(RolloutSpec(0, task, kwargs, {}))
    with pytest.raises(ConfigError, match="cannot make task MinitaurStack"):
        sampler.collect(balancing_snapshot, Stream.TRAINING, [0])


def test_evaluation_arguments_override_those_of_training() -> None:
    spec = RolloutSpec.of(pendulum())
    assert spec.evaluation_kwargs == spec.training_kwargs == {"max_steps": 200}


def test_workers_know_no_torch() -> None:
    code = "import sys, training.train, training.rollout.samplers; sys.exit('torch' in sys.modules)"
    assert python("-c", code).returncode == 0


ORPHAN_MAKER = """
import multiprocessing, os, signal, sys
import numpy as np
from training.rollout.policy import Normaliser, PolicySnapshot
from training.rollout.episode import Stream
from training.rollout.samplers import ProcessSampler, RolloutSpec

if __name__ == "__main__":
    flat = np.ones(5, np.float32)
    snapshot = PolicySnapshot(Normaliser(flat, flat, 5.0),
                              ((np.zeros((1, 5), np.float32), np.zeros(1, np.float32)),),
                              "relu", np.ones(1, np.float32))
    sampler = ProcessSampler(RolloutSpec(0, "MinitaurStack/InvertedPendulum-v0", {}, {}), 1)
    sampler.collect(snapshot, Stream.TRAINING, [0])
    print(multiprocessing.active_children()[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_killed_trainer(tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "orphan_maker.py"
    script.write_text(ORPHAN_MAKER)
    # Not subprocess.run: it would wait for the pipe's last owner, which the worker is.
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as trainer:
        worker = int(trainer.stdout.readline())
    until(lambda: has_ended(worker))


INTERRUPTED_JOBS = """
import os, signal, threading, time
from robot_firmware_bridge.worker_process import obey_parent
from training.rollout.samplers import map_in_workers

if __name__ == "__main__":
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        list(map_in_workers(time.sleep, [100.0] * 4, 2, obey_parent))
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_the_jobs_of_workers(tmp_path: Path) -> None:
    script = tmp_path / "jobs.py"
    script.write_text(INTERRUPTED_JOBS)
    done = python(script, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
