import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import assert_one_line, python
from support.processes import ForkedProcess
from support.training import (
    NAN_EPISODE,
    NAN_TASK,
    assert_same_episodes,
    train_until_interrupted,
)

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]'")
# The sampler before Ray, which it makes quiet.
from training.rollout.ray_sampler import RaySampler, Worker, code_digest  # isort: skip
from ray.cluster_utils import Cluster  # isort: skip

from training.errors import ConfigError, EpisodeError, SamplerError
from training.rollout.episode import Episode, Stream
from training.rollout.policy import PolicySnapshot
from training.rollout.samplers import EpisodeRunner, RolloutSpec, make_sampler
from training.runs.checkpoint import newest_checkpoint
from training.runs.config import TrainConfig, config_to_json
from training.runs.folder import RunFolder
from training.train import Arguments, resolve, train

SPEC = RolloutSpec(0, "MinitaurStack/InvertedPendulum-v0", {"max_steps": 100}, {"max_steps": 30})
# A node is given up after two seconds without a sign of life, instead of fifteen.
IMPATIENT = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}
TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs no worker, and two nodes with one core each: processes of this computer."""
    with pytest.MonkeyPatch.context() as environment:
        paths = [str(TESTS.parent), str(TESTS)]
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": IMPATIENT}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def make(cluster: Cluster) -> Iterator[Callable[..., RaySampler]]:
    made = []

    def make(spec: RolloutSpec = SPEC, workers: int = 2) -> RaySampler:
        made.append(RaySampler(spec, workers, cluster.address))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()
    deadline = time.monotonic() + 20.0
    while any(map(workers_of, cluster.worker_nodes)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(node: Any) -> list[int]:
    """Process ids of the rollout workers on a node: children of its raylet."""
    (raylet,) = (info.process.pid for info in node.all_processes["raylet"])
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    return [int(pid) for pid in children if "::Worker" in command_line(pid)]


def command_line(pid: str) -> str:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def alone(spec: RolloutSpec, snapshot: PolicySnapshot, number: int) -> list[Episode]:
    runner = EpisodeRunner(spec)
    episodes = runner.collect(snapshot, Stream.TRAINING, range(number))
    runner.close()
    return episodes


def test_episodes_are_those_of_one_process(
    make: Callable[..., RaySampler],
    cluster: Cluster,
    balancing_snapshot: PolicySnapshot,
) -> None:
    sampler = make(workers=3)  # of which one waits for a core all the time
    reference = alone(SPEC, balancing_snapshot, 6)
    assert_same_episodes(sampler.collect(balancing_snapshot, Stream.TRAINING, range(6)), reference)
    evaluated = sampler.collect(balancing_snapshot, Stream.EVALUATION, [1])
    assert len(evaluated[0]) == 30
    # Actors know no torch.
    pids = [pid for node in cluster.worker_nodes for pid in workers_of(node)]
    assert pids
    assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)


def kill_worker(cluster: Cluster) -> None:
    for node in cluster.worker_nodes:
        for pid in workers_of(node):
            os.kill(pid, signal.SIGKILL)


def kill_node(cluster: Cluster) -> None:
    victim = next(filter(workers_of, cluster.worker_nodes))
    cluster.remove_node(victim, allow_graceful=False)


@pytest.mark.parametrize("kill", [kill_worker, kill_node])
def test_what_was_lost_with_an_actor_is_run_again(
    kill: Callable[[Cluster], None],
    make: Callable[..., RaySampler],
    cluster: Cluster,
    balancing_snapshot: PolicySnapshot,
    caplog: pytest.LogCaptureFixture,
) -> None:
    finished: list[Episode] = []

    def kill_with_the_first(episode: Episode) -> None:
        if not finished:
            kill(cluster)
        finished.append(episode)

    sampler = make(workers=1)
    episodes = sampler.collect(balancing_snapshot, Stream.TRAINING, range(6), kill_with_the_first)
    assert "a worker process died: starting anew for 5 episodes" in caplog.text
    assert [episode.index for episode in finished] == [0, 1, 2, 3, 4, 5]
    assert_same_episodes(episodes, alone(SPEC, balancing_snapshot, 6))
    if kill is kill_node:
        cluster.add_node(num_cpus=1)


def test_actors_that_die_over_and_over_end_the_run(
    make: Callable[..., RaySampler], balancing_snapshot: PolicySnapshot
) -> None:
    sampler = make(RolloutSpec(0, "support.training:Test/Deadly-v0", {}, {}), 1)
    with pytest.raises(SamplerError, match="--sampler process --workers 0 shows why"):
        sampler.collect(balancing_snapshot, Stream.TRAINING, [0])


def test_errors_of_episodes_arrive_as_they_are_that_of_the_lowest_index_first(
    make: Callable[..., RaySampler], balancing_snapshot: PolicySnapshot
) -> None:
    bad = replace(balancing_snapshot, action_std=balancing_snapshot.action_std * float("nan"))
    with pytest.raises(EpisodeError) as broken:
        make().collect(bad, Stream.TRAINING, range(2, 6))
    assert type(broken.value) is EpisodeError
    assert broken.value.index == 2
    with pytest.raises(EpisodeError) as here:
        alone(SPEC, bad, 1)
    assert str(broken.value) == str(here.value).replace("episode 0", "episode 2")


def test_an_error_of_an_episode_arrives_with_what_a_dump_needs(
    make: Callable[..., RaySampler], balancing_snapshot: PolicySnapshot
) -> None:
    with pytest.raises(EpisodeError) as nan:
        make(RolloutSpec(0, NAN_TASK, {}, {})).collect(
            balancing_snapshot, Stream.TRAINING, [NAN_EPISODE]
        )
    assert nan.value.so_far.actions.shape == (8, 1)


def test_a_wrong_task_is_a_config_error(
    make: Callable[..., RaySampler], balancing_snapshot: PolicySnapshot
) -> None:
    sampler = make(RolloutSpec(0, "MinitaurStack/Nowhere-v0", {}, {}), 1)
    with pytest.raises(ConfigError, match=r"^cannot make task MinitaurStack/Nowhere-v0"):
        sampler.collect(balancing_snapshot, Stream.TRAINING, [0])


def test_a_computer_with_other_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    before = code_digest(tmp_path)
    for name in ("plant.py", "tick.c", "robot.json"):
        (tmp_path / "sim" / name).write_text("1.0\n")
        one = code_digest(tmp_path)
        (tmp_path / "sim" / name).write_text("2.0\n")
        assert len({before, one, code_digest(tmp_path)}) == 3
    with pytest.raises(SamplerError, match="has other code than the trainer, or other versions"):
        Worker(SPEC).start(before)


def learner_state(run: Path) -> dict[str, Any]:
    checkpoint = newest_checkpoint(RunFolder(run).checkpoints)
    assert checkpoint is not None
    return checkpoint.learner


def assert_same_policy(run: Path, config: TrainConfig) -> None:
    """The run ended as one that nothing disturbed."""
    reference = run.parent / "reference"
    list(train(config, reference))
    torch.testing.assert_close(learner_state(run), learner_state(reference), rtol=0.0, atol=0.0)


def test_a_run_of_processes_goes_on_with_actors_though_a_node_is_killed_and_another_comes(
    cluster: Cluster, tiny_config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    first = replace(tiny_config, workers=2)
    assert next(row.update for row in train(first, run) if row.update == 3)
    before = set(cluster.worker_nodes)

    def kill_in_a_batch(steps: int) -> None:
        if steps > 500 and set(cluster.worker_nodes) == before:
            kill_node(cluster)

    config = replace(tiny_config, workers=1, sampler="ray", address=cluster.address)
    for row in train(config, run, on_steps=kill_in_a_batch):
        if row.update == 6 and len(cluster.worker_nodes) < len(before):
            cluster.add_node(num_cpus=1)
    assert len(set(cluster.worker_nodes) - before) == 1
    assert "a worker process died" in caplog.text
    assert_same_policy(run, tiny_config)


def test_ray_on_this_computer_is_quiet_and_ends_with_an_interrupted_trainer(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config, run = replace(tiny_config, workers=2, sampler="ray"), tmp_path / "run"
    number = signal.SIGINT
    process = ForkedProcess(tmp_path, train_until_interrupted, config_to_json(config), run, number)
    assert process.wait() == (0, "interrupted\n", "")
    assert not RunFolder(run).finished.exists()
    list(train(tiny_config, run))
    assert_same_policy(run, tiny_config)


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from training.train import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_missing_ray_is_told_in_one_line(tmp_path: Path) -> None:
    command = ("--config", "trot", "--sampler", "ray", "--logdir", tmp_path / "runs")
    done = python("-c", WITHOUT_RAY, *command)
    assert done.returncode == 2
    assert_one_line(done.stderr, "the sampler ray needs Ray: pip install '.[cluster]'")
    assert not list(tmp_path.rglob("config.json"))


def test_ray_without_workers_makes_no_sense() -> None:
    with pytest.raises(SamplerError, match="the sampler ray needs workers, got 0: --workers 2"):
        make_sampler(SPEC, 0, "ray")


def test_an_address_where_nothing_is_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(SamplerError, match=f"no Ray cluster at 127.0.0.1:{port}: .*refused"):
            RaySampler(SPEC, 1, f"127.0.0.1:{port}")
    for address in ("somewhere", ":1", "host:port"):
        with pytest.raises(SamplerError, match="is HOST:PORT, got"):
            RaySampler(SPEC, 1, address)


def test_an_address_is_that_of_ray(tmp_path: Path) -> None:
    arguments = Arguments(config="trot", logdir=tmp_path, address="head:6379")
    with pytest.raises(ConfigError, match="needs --sampler ray"):
        resolve(arguments)
    config, _ = resolve(replace(arguments, sampler="ray"))
    assert (config.sampler, config.address) == ("ray", "head:6379")
