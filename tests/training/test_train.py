import contextlib
import itertools
import json
import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support.commands import python
from support.processes import ForkedProcess, run_script, until
from support.training import files_limited_to, make_tiny_config, train_whole

from training import train as train_module
from training.errors import (
    ConfigError,
    DumpError,
    EpisodeError,
    RunFolderError,
    TrainingDivergedError,
    TrainingError,
)
from training.replay import replay
from training.rollout.dump import read_dump, write_dump
from training.rollout.episode import Stream, seed_sequence
from training.runs import trainer
from training.runs.checkpoint import Checkpoint, RunState, newest_checkpoint, read_checkpoint
from training.runs.config import TrainConfig, config_to_json
from training.runs.folder import RunFolder
from training.runs.presets import CONFIGS, pendulum
from training.runs.progress import ProgressRow, read_rows
from training.tasks.pendulum import InvertedPendulum
from training.train import Arguments, main, resolve, train


def newest(run: Path) -> Checkpoint:
    checkpoint = newest_checkpoint(RunFolder(run).checkpoints)
    assert checkpoint is not None
    return checkpoint


def learner_state(run: Path) -> dict[str, Any]:
    return newest(run).learner


def assert_equal(first: Any, second: Any) -> None:
    """Bit for bit, down to the last optimiser moment."""
    torch.testing.assert_close(first, second, rtol=0.0, atol=0.0)


def curves(run: Path) -> list[dict[str, Any]]:
    """The progress log without what the clock decides."""
    rows = [json.loads(line) for line in RunFolder(run).progress.read_text().splitlines()]
    for row in rows:
        del row["time"], row["wall_seconds"]
        row["values"] = {k: v for k, v in row["values"].items() if not k.startswith("time/")}
    return rows


def evaluations(rows: Iterable[ProgressRow]) -> Iterator[ProgressRow]:
    return (row for row in rows if row.kind == "evaluation")


def train_rows(run: Path) -> list[ProgressRow]:
    return read_rows(RunFolder(run).progress)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("reference") / "reference"
    list(train(make_tiny_config(), run))
    return run


def test_scores_rows_and_records_of_a_run(tiny_config: TrainConfig, tmp_path: Path) -> None:
    rows = list(train(tiny_config, tmp_path / "run"))
    assert rows == train_rows(tmp_path / "run")
    assert [row.update for row in rows if row.kind == "update"] == list(
        range(1, 1 + rows[-1].update)
    )
    assert rows[1].mean_return == rows[1].values["episode/return"]
    scores = list(evaluations(rows))
    assert scores[0].mean_return == scores[0].values["evaluation/return"]
    assert [score.update for score in scores[:3]] == [0, 3, 6]
    assert scores[-1].steps >= tiny_config.total_steps
    assert scores[0].score == scores[0].values["evaluation/return"]
    end = json.loads(RunFolder(tmp_path / "run").finished.read_text())
    assert end["milestone_steps"] == scores[0].steps
    assert end["milestone_seconds"] == pytest.approx(scores[0].wall_seconds)
    assert end["last_score"] == scores[-1].score
    assert end["best_return"] == end["best_score"] == max(score.score for score in scores)
    best = read_checkpoint(RunFolder(tmp_path / "run").best)
    assert best.state.update == end["best_update"]
    assert 0.0 < end["collection_efficiency"] <= 1.0


def test_a_run_that_ends_before_its_first_update_has_no_efficiency(tmp_path: Path) -> None:
    # The steps of the episodes that a first policy imitates may be all.
    config, folder = make_tiny_config(), RunFolder(tmp_path)
    figures = trainer._summary(config, RunState(steps=8000, last_score=1.0, best_score=1.0))
    assert figures["collection_efficiency"] is None
    folder.progress.write_text("")
    assert train_module._summary(config, folder, figures).splitlines()[2].endswith("evaluate 0 s")


def test_the_result_does_not_depend_on_the_workers(
    reference: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    run = tmp_path / "workers"
    list(train(replace(tiny_config, workers=2), run))
    assert_equal(learner_state(run), learner_state(reference))
    assert curves(run) == curves(reference)


def test_a_run_starts_from_the_networks_of_another(
    reference: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    # So small a rate that the first update leaves the networks where they were put.
    still = replace(
        tiny_config.ppo,
        policy_learning_rate=1e-12,
        value_learning_rate=1e-12,
        schedule="constant",
    )
    config = replace(
        tiny_config,
        start_from=str(reference),
        network=replace(tiny_config.network, init_log_std=-1.5),
        ppo=still,
        total_steps=1,
        seed=5,
    )
    run = tmp_path / "second"
    list(train(config, run))
    first, second = learner_state(reference), learner_state(run)
    explored = second["policy"].pop("log_std")
    torch.testing.assert_close(explored, torch.full_like(explored, -1.5))
    for network in ("policy", "value"):
        for name, weights in first[network].items():
            if name == "log_std":
                continue  # how much it explores is the run's own
            torch.testing.assert_close(second[network][name], weights, atol=1e-9, rtol=0)
    assert second["observation_moments"]["count"] > first["observation_moments"]["count"]


def test_networks_of_another_size_do_not_start_a_run(
    reference: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    wider = replace(tiny_config.network, policy_layers=(9,))
    config = replace(tiny_config, start_from=str(reference), network=wider)
    with pytest.raises(ConfigError, match=r"start_from: networks that do not fit: .*size mismatch"):
        list(train(config, tmp_path / "wider"))


def test_a_stopped_run_goes_on_from_its_checkpoint(
    reference: Path,
    tiny_config: TrainConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = tmp_path / "stopped"
    caplog.set_level("INFO", "training")
    for score in evaluations(train(tiny_config, run)):
        if score.update == 6:
            break
    list(train(tiny_config, run))
    steps = next(score.steps for score in train_rows(run) if score.update == 6)
    assert f"resuming at update 6, {steps:,} steps" in caplog.text
    assert_equal(learner_state(run), learner_state(reference))
    assert curves(run) == curves(reference)
    assert list(train(tiny_config, run)) == []


@pytest.mark.parametrize("how", ["break", "error"])
def test_who_stops_to_iterate_ends_the_workers_and_loses_nothing(
    how: str, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    # No checkpoint is due, so that only the end saves one.
    config = replace(tiny_config, workers=2, checkpoint_every_updates=1000, eval_every_updates=1000)
    run, whole = tmp_path / "run", tmp_path / "whole"
    others = set(multiprocessing.active_children())
    with contextlib.suppress(ZeroDivisionError):
        for row in train(config, run):
            if row.update == 3:
                assert set(multiprocessing.active_children()) > others
                assert newest(run).state.update == 0
                if how == "error":
                    raise ZeroDivisionError
                break
    assert set(multiprocessing.active_children()) == others
    assert newest(run).state.update == 3
    assert RunFolder(run).is_resumable(config)
    assert [row.update for row in itertools.islice(train(config, run), 2)] == [4, 5]
    list(train(config, run))
    list(train(replace(config, workers=0), whole))
    assert_equal(learner_state(run), learner_state(whole))
    assert curves(run) == curves(whole)


def test_sigkill_at_any_moment_changes_nothing(
    reference: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    rng = random.Random(0)
    kills = 0
    while not folder.finished.exists():
        config = config_to_json(replace(tiny_config, workers=(0, 2, 0, 2)[kills]))
        rows = len(folder.progress.read_bytes()) if folder.progress.exists() else 0
        process = ForkedProcess(tmp_path, train_whole, config, folder.path)
        while kills < 3 and process.is_running():
            time.sleep(0.002)
            if folder.progress.exists() and len(folder.progress.read_bytes()) > rows:
                time.sleep(rng.uniform(0.0, 0.1))  # now it trains; hit it anywhere
                process.kill()
                kills += 1
                break
        assert process.wait()[0] in (0, -signal.SIGKILL)
    assert kills >= 2
    assert_equal(learner_state(folder.path), learner_state(reference))
    assert curves(folder.path) == curves(reference)


def test_ctrl_c_saves_and_prints_how_to_resume(tmp_path: Path) -> None:
    words = ["--config", "default", "--timestamp", "t", "--logdir", str(tmp_path)]
    process = ForkedProcess(tmp_path, main, words)
    folder = RunFolder(tmp_path / "t-default")
    try:
        until(lambda: folder.progress.exists() and folder.progress.read_text())
        process.send_signal(signal.SIGINT)
        code, _, errors = process.wait()
    finally:
        process.kill()  # a failure must not leave a training behind
    assert code == 130
    assert errors.endswith(f"interrupted; the same command resumes {folder.path}\n")
    assert any(folder.checkpoints.glob("*.pt"))
    assert not folder.finished.exists()


def test_a_full_disk_costs_checkpoints_and_not_the_run(
    reference: Path,
    tiny_config: TrainConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = tmp_path / "full"
    scores = evaluations(train(tiny_config, run))
    assert [next(scores).update, next(scores).update] == [0, 3]
    kept = newest(run).state
    with files_limited_to(8_000):
        next(scores)
    assert "no checkpoint of update 6" in caplog.text
    assert newest(run).state == kept
    list(scores)
    assert_equal(learner_state(run), learner_state(reference))
    best = RunFolder(reference).best.read_bytes()
    assert len(RunFolder(run).best.read_bytes()) == pytest.approx(len(best), rel=0.01)
    assert_equal(
        read_checkpoint(RunFolder(run).best).learner,
        read_checkpoint(RunFolder(reference).best).learner,
    )


def test_a_run_is_not_finished_before_its_last_state_is_saved(
    reference: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "full")
    scores = evaluations(train(tiny_config, folder.path))
    assert [next(scores).update, next(scores).update] == [0, 3]
    with (
        files_limited_to(8_000),
        pytest.raises(
            RunFolderError,
            match=r"not finished: update \d+ cannot be saved \(.*File too large.*\); free space, "
            "then the same command resumes from update 3",
        ),
    ):
        list(scores)
    assert not folder.finished.exists()
    rest = list(evaluations(train(tiny_config, folder.path)))
    assert rest[0].update == 6
    assert folder.finished.exists()
    assert_equal(learner_state(folder.path), learner_state(reference))


def test_a_disk_that_cannot_take_a_checkpoint_is_refused_before_the_work(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    with files_limited_to(8_000), pytest.raises(OSError, match="File too large"):
        list(train(tiny_config, tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_due_by_time_as_well(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = replace(tiny_config, checkpoint_every_updates=1000, eval_every_updates=1000)
    monkeypatch.setattr(trainer, "CHECKPOINT_S", 0.0)
    rows = []
    for row in train(rare, tmp_path / "run"):
        rows.append(row)
        assert newest(tmp_path / "run").state.update == row.update
    updates = [row.update for row in rows if row.kind == "update"]
    kept = sorted(path.name for path in RunFolder(tmp_path / "run").checkpoints.glob("ch*.pt"))
    assert kept == [f"checkpoint-{update:08d}.pt" for update in updates[-2:]]


class Breaking(InvertedPendulum):
    """Goes wrong in the eighth step of some episodes: a function of the seed, as a bug is."""

    how = "nan"

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> Any:
        self.wrong = seed is not None and seed % 23 == 0
        return super().reset(seed=seed, **kwargs)

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        if self.wrong and self._steps == 8:
            if Breaking.how == "raises":
                raise ZeroDivisionError("division\nby zero")
            observation = observation + np.array((0, 0, 0, np.nan, 0), np.float32)
        return observation, reward, *rest


@pytest.fixture
def breaking(tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Training that breaks off in episode 16, in the fourth batch, as the seeds have it."""
    if "Test/Breaking-v0" not in gymnasium.registry:
        gymnasium.register("Test/Breaking-v0", entry_point=Breaking)
    return replace(tiny_config, task="Test/Breaking-v0")


def first_breaking_episode() -> int:
    """Independent of the trainer: the first training episode whose seed is one of the wrong."""
    for index in itertools.count():
        env_seeds, _ = seed_sequence(0, Stream.TRAINING, index).spawn(2)
        if int(env_seeds.generate_state(1)[0]) % 23 == 0:
            return index
    raise AssertionError


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("nan", "an observation (entry 3) is nan"),
        ("raises", "the environment raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_breaks_a_run_off_is_remembered_and_can_be_seen_again(
    how: str, what: str, breaking: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaking, "how", how)
    run, index = tmp_path / "run", first_breaking_episode()
    update = index // breaking.episodes_per_update
    text = f"{what} in step 7 of training episode {index}, seed 0"
    with pytest.raises(EpisodeError) as broke:
        list(train(breaking, run))
    command = f"minitaur replay {RunFolder(run).dump}"
    assert str(broke.value) == f"{text}; see it again: {command}"
    assert newest(run).state.update == update  # the policy that acted is there
    rows = RunFolder(run).progress.read_bytes()

    with pytest.raises(
        RunFolderError, match=f"broke off at update {update}, and would again"
    ) as no:
        list(train(breaking, run))
    assert f"{text}; see it again: {command}; " in str(no.value)
    assert "\n" not in str(no.value)
    assert RunFolder(run).progress.read_bytes() == rows  # nothing was run

    replayed = replay(run)
    assert replayed.is_same
    assert replayed.found == text
    header, started, *steps = replayed.lines
    assert header.split() == ["step", "action", "observation", "reward"]
    assert started.split()[0] == "reset"
    assert [line.split()[0] for line in steps[:8]] == [str(k) for k in range(8)]
    if how == "nan":
        assert steps[7].split()[2] == "nan"
        assert not any("nan" in line for line in steps[:7])
        assert steps[8] == "first beyond measure: observation nan in step 7"
    else:
        assert steps[7].split()[2:] == ["-", "-"]
        assert steps[9].endswith("no answer")
        assert "ZeroDivisionError" in steps[10]
        assert ", in step" in steps[10]  # the environment's own lines

    monkeypatch.setattr(InvertedPendulum, "__mended__", True, raising=False)
    with pytest.raises(EpisodeError):
        list(train(breaking, run, retry=True))
    monkeypatch.setattr(Breaking, "step", InvertedPendulum.step)
    assert replay(run).found == ""
    list(train(breaking, run, retry=True))
    assert RunFolder(run).finished.exists()
    with pytest.raises(DumpError, match="has no dump: it did not break off"):
        replay(run)


@pytest.mark.parametrize(
    ("change", "what", "steps"),
    [
        # The weights after its first step make the loss of the second one NaN.
        ({"policy_learning_rate": 1e30}, "the policy loss is nan", ["0", "1"]),
        # Its only step makes weights that nothing looks at before the next batch.
        (
            {"value_learning_rate": 1e38, "value_epochs": 1, "minibatch_size": None},
            "a weight of the value function is inf",
            ["0"],
        ),
    ],
)
def test_an_update_that_diverges_is_remembered_and_can_be_seen_again(
    change: dict[str, Any],
    what: str,
    steps: list[str],
    tiny_config: TrainConfig,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    config = replace(tiny_config, ppo=replace(tiny_config.ppo, **change))
    with pytest.raises(TrainingDivergedError) as diverged:
        list(train(config, run))
    text = f"{what} in update 0; the last checkpoint stands"
    command = f"minitaur replay {RunFolder(run).dump}"
    assert str(diverged.value) == f"{text}; see it again: {command}"
    with pytest.raises(RunFolderError, match="and would again") as again:
        list(train(config, run))
    assert f"{text}; see it again: {command}; " in str(again.value)
    weights = learner_state(run)["policy"].values()
    assert torch.cat([weight.flatten() for weight in weights]).isfinite().all()

    replayed = replay(run)
    assert replayed.is_same
    assert replayed.found == text
    network = "policy" if "policy" in what else "value"
    first = replayed.lines.index(f"gradient steps of the {network}, weights before each:") + 2
    assert [line.split()[0] for line in replayed.lines[first : first + len(steps)]] == steps


def test_an_update_that_no_longer_diverges_is_told(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ppo = replace(tiny_config.ppo, policy_learning_rate=1e30)
    with pytest.raises(TrainingDivergedError):
        list(train(replace(tiny_config, ppo=ppo), run))
    dump = read_dump(RunFolder(run).dump)
    assert replay(run).is_same
    # The schedule sets the policy's rate anew, from the configuration.
    settings = dump.facts["config"]
    settings = {**settings, "ppo": {**settings["ppo"], "policy_learning_rate": 1e-3}}
    mended = tmp_path / "mended.npz"
    write_dump(mended, replace(dump, facts={**dump.facts, "config": settings}))
    assert replay(mended).found == ""


def test_a_healthy_run_has_no_dump(reference: Path) -> None:
    assert not RunFolder(reference).dump.exists()
    assert not RunFolder(reference).failure.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "gpu"}, "device 'gpu': .*usable here: cpu"),
        ({"device": "cuda:77"}, "device 'cuda:77': .*usable here: cpu"),
        ({"workers": 1000}, r"workers must be at most \d+ on this computer, got 1000"),
        ({"start_from": "nowhere"}, "start_from: nowhere cannot be read: .*No such file"),
        ({"task": "MinitaurStack/Nowhere-v0"}, "cannot make task"),
    ],
)
def test_what_cannot_begin_leaves_nothing(
    change: dict[str, Any], message: str, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message) as refused:
        list(train(replace(tiny_config, **change), tmp_path / "logs" / "run"))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "logs" / "run").exists()


def test_the_best_policy_is_that_of_the_most_return(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    # A share of falls: more of it is worse, and no policy may be kept for it.
    run = tmp_path / "run"
    scores = list(evaluations(train(replace(tiny_config, score_metric="fell"), run)))
    returns = [score.values["evaluation/return"] for score in scores]
    best = scores[int(np.argmax(returns))]
    end = json.loads(RunFolder(run).finished.read_text())
    assert len(set(returns)) > 1
    assert (end["best_return"], end["best_update"]) == (max(returns), best.update)
    assert end["best_score"] == best.score


def test_the_steps_of_a_batch_under_way_are_shown(tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[int] = []
    running = train(tiny_config, tmp_path / "run", on_steps=steps.append)
    rows = list(itertools.islice(running, 4))  # an evaluation and three updates
    running.close()
    assert steps[0] == 0
    assert steps == sorted(steps)
    # Five episodes in each of three batches, and a run's beginning.
    assert len(steps) == 1 + 3 * 5
    ends = [row.steps for row in rows if row.kind == "update"]
    assert steps[5::5] == ends
    resumed: list[int] = []
    next(train(tiny_config, tmp_path / "run", on_steps=resumed.append))
    assert resumed[0] == ends[-1]


UNGUARDED = """
import sys
from training.runs.config import config_from_json
from training.train import train

for _ in train(config_from_json(open(sys.argv[1]).read()), sys.argv[2]):
    pass
"""


def test_a_script_without_a_main_guard_is_told_so(tiny_config: TrainConfig, tmp_path: Path) -> None:
    script, config = tmp_path / "unguarded.py", tmp_path / "config.json"
    script.write_text(UNGUARDED)
    config.write_text(config_to_json(replace(tiny_config, workers=2)))
    process = ForkedProcess(tmp_path, run_script, script, config, tmp_path / "run")
    _, _, errors = process.wait()
    last = errors.splitlines()[-1]
    assert "SamplerError" in last
    assert f"{script} starts its work again in every worker that imports it" in last
    assert '`if __name__ == "__main__":`' in last
    assert errors.count("Traceback") <= 2  # the parent's own, with its cause
    assert "bootstrapping" not in errors
    typed = python("-", config, tmp_path / "run", input=UNGUARDED)
    assert "workers cannot import <stdin>: put the program into a file" in typed.stderr


def test_an_unknown_score_metric_names_those_there_are(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="no metric 'speed' to score by: there are fell, length, return"
    ):
        list(train(replace(tiny_config, score_metric="speed"), tmp_path / "run"))


def test_a_folder_in_use_is_refused(tiny_config: TrainConfig, tmp_path: Path) -> None:
    running = train(tiny_config, tmp_path / "run")
    next(running)
    with pytest.raises(RunFolderError, match="in use"):
        next(train(tiny_config, tmp_path / "run"))
    running.close()


@pytest.fixture
def named(tmp_path: Path) -> Callable[..., Arguments]:
    def make(**options: Any) -> Arguments:
        return Arguments(**{"config": "pendulum", "logdir": tmp_path, **options})

    return make


def test_options_override_the_configuration(named: Callable[..., Arguments]) -> None:
    config, folder = resolve(named(seed=4, workers=3, total_steps=77, timestamp="x"))
    assert config == replace(pendulum(), seed=4, workers=3, total_steps=77)
    assert folder.path.name == "x-pendulum"


def test_a_named_folder_keeps_its_own_configuration(named: Callable[..., Arguments]) -> None:
    old = replace(pendulum(), seed=4, episodes_per_update=3)
    _, folder = resolve(named(timestamp="x"))
    with folder.opened(old):
        pass
    config, again = resolve(named(timestamp="x", workers=2))
    assert config == replace(old, workers=2)
    assert again.path == folder.path
    with pytest.raises(ConfigError, match="x-pendulum was made with --seed 4: leave --seed out"):
        resolve(named(timestamp="x", seed=5))


def test_without_a_config_the_known_ones_are_listed(named: Callable[..., Arguments]) -> None:
    with pytest.raises(ConfigError, match=r"--config is needed(.|\n)*pendulum +Pendulum"):
        resolve(named(config=None))


def test_bad_input_is_one_line_and_a_failure(tmp_path: Path) -> None:
    done = python("-m", "training.train", "--config", "trott", "--logdir", tmp_path)
    assert done.returncode == 2
    known = ", ".join(CONFIGS)
    assert done.stderr == f"error: no config 'trott': did you mean trot? there are {known}\n"


def test_the_command_solves_the_pendulum(tmp_path: Path) -> None:
    words = ["--config", "pendulum", "--logdir", str(tmp_path / "runs")]
    code, printed, _ = ForkedProcess(tmp_path, main, words).wait()
    assert code == 0
    (run,) = (tmp_path / "runs").iterdir()
    end = json.loads((run / "finished.json").read_text())
    assert end["last_score"] == 200.0  # 200 of 200 steps in 20 of 20 episodes
    assert end["wall_seconds"] < 120.0
    assert printed.splitlines()[-1].startswith(f'next: make curves RUNS="{run}"')
    assert "return 200 first reached after" in printed


def test_what_a_task_does_not_have_is_refused(tiny_config: TrainConfig, tmp_path: Path) -> None:
    base = tiny_config
    mirrored = replace(base, network=replace(base.network, mirror=True))
    privileged = replace(base, ppo=replace(base.ppo, privileged_value=True))
    for config, name in ((mirrored, "network.mirror"), (privileged, "ppo.privileged_value")):
        with pytest.raises(ConfigError, match=f"{name}: task .*InvertedPendulum-v0 has no"):
            list(train(config, tmp_path / name))
