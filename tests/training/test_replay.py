"""Dumps of what met a number that is not finite, and their replay: as users see both."""

import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import assert_one_line, python
from support.plants import write_plant
from support.training import NAN_EPISODE, NAN_TASK, files_limited_to

from minitaur.replay import is_dump
from sim.plant.params import PlantParams
from training.errors import DumpError, EpisodeError, RunFolderError
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.evaluation.report import summarize, write_dumps
from training.replay import replay, table
from training.rollout.dump import Dump, new_dump, read_dump, write_dump
from training.runs.config import TrainConfig
from training.runs.folder import RunFolder
from training.train import train

# A robot of hardly any mass whose motors and joints brake: MuJoCo's first tick makes it NaN.
NAN_ROBOT = {
    **dict.fromkeys(("leg_mass_scale", "leg_inertia_scale"), 0.05),
    **dict.fromkeys(("base_mass_scale", "base_inertia_scale"), 0.05),
    "motor_viscous_nm_s_per_rad": 0.5,
    "knee_viscous_nm_s_per_rad": 0.1,
    "winding_resistance_ohm": 0.01,
    "torque_constant_nm_per_a": 1.0,
    "battery_v": 50.0,
}
# Legs of hardly any mass, motors of ten times the torque: some 200 kW, and every number finite.
WILD_ROBOT = {
    **dict.fromkeys(("leg_mass_scale", "leg_inertia_scale"), 0.05),
    "motor_strength_scale": 10.0,
    "winding_resistance_ohm": 0.01,
    "torque_constant_nm_per_a": 1.0,
    "battery_v": 50.0,
}


def minitaur(*arguments: Any) -> Any:
    """Run a command in a process of its own, which finds the task of these tests."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return python("-m", "minitaur", *arguments, env=environment)


def command_in(text: str) -> list[str]:
    """Take the command that an error names, without the word minitaur."""
    command = text.partition("see it again: ")[2].partition("; ")[0]
    name, *arguments = shlex.split(command)
    assert name == "minitaur"
    return arguments


def broken_run(config: TrainConfig, run: Path) -> str:
    with pytest.raises(EpisodeError) as error:
        list(train(config, run))
    return str(error.value)


def test_the_command_of_the_error_runs_the_episode_again_wherever_it_ran(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config, task=NAN_TASK)
    here, run = tmp_path / "here", tmp_path / "a run"  # with a name that a shell would split
    broken_run(config, here)
    text = broken_run(dataclasses.replace(config, workers=2), run)
    what = f"an observation (entry 3) is nan in step 7 of training episode {NAN_EPISODE}, seed 0"
    assert text.startswith(f"{what}; see it again: minitaur replay ")
    done = minitaur(*command_in(text))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"again: {what}\n")
    assert "first beyond measure: observation nan in step 7\n" in done.stdout

    with pytest.raises(RunFolderError, match="broke off at update 1, and would again") as refused:
        list(train(config, run))
    assert command_in(str(refused.value)) == command_in(text)

    dumps = [read_dump(RunFolder(each).dump) for each in (here, run)]
    assert dumps[0].arrays.keys() == dumps[1].arrays.keys()
    for name, array in dumps[0].arrays.items():
        np.testing.assert_array_equal(array, dumps[1].arrays[name])
    assert dumps[0].arrays["actions"].shape == (8, 1)
    assert dumps[0].arrays["rewards"].shape == (8,)
    facts = dumps[0].facts
    assert (facts["stream"], facts["index"], facts["step"]) == ("training", NAN_EPISODE, 7)
    assert facts["libraries"]["numpy"] == np.__version__


def test_actions_other_than_the_policys_are_taken_and_told(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """As if the dump came from a computer that rounds otherwise."""
    run = tmp_path / "run"
    broken_run(dataclasses.replace(tiny_config, task=NAN_TASK), run)
    dump = read_dump(RunFolder(run).dump)
    actions = dump.arrays["actions"].copy()
    actions[3] = np.nextafter(actions[3], 1.0)
    other = run / "other.npz"
    write_dump(other, Dump(dump.facts, {**dump.arrays, "actions": actions}))
    replayed = replay(other)
    assert replayed.is_same
    assert replayed.lines[-1] == "the policy acts otherwise here from step 3 on"


def test_a_plant_that_is_nan_is_shown_with_its_parameters(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        tiny_config,
        task="MinitaurStack/Trot-v0",
        task_kwargs={"plant": "mujoco", "params": NAN_ROBOT},
        eval_episodes=1,
    )
    text = broken_run(config, tmp_path / "run")
    assert "non_finite_observation" in text
    assert " in reset of " in text
    dump = read_dump(RunFolder(tmp_path / "run").dump)
    assert NAN_ROBOT.items() <= dump.facts["params"].items()
    replayed = replay(tmp_path / "run")
    assert replayed.is_same
    plant, header, started, first, *_ = replayed.lines
    assert plant.startswith("plant: base_mass_scale 0.05, leg_mass_scale 0.05, ")
    assert "joint speed, rad/s" in header
    assert started.split()[:4] == ["reset", "nan", "nan", "nan"]
    assert first == "first beyond measure: joint speed, rad/s nan in reset"


def test_another_plant_than_recorded_is_told(tiny_config: TrainConfig, tmp_path: Path) -> None:
    """As if the ranges of the task were edited since."""
    config = dataclasses.replace(
        tiny_config,
        task="MinitaurStack/Trot-v0",
        task_kwargs={"plant": "mujoco", "params": NAN_ROBOT},
        eval_episodes=1,
    )
    broken_run(config, tmp_path / "run")
    path = RunFolder(tmp_path / "run").dump
    dump = read_dump(path)
    edited = {**config.task_kwargs, "params": {**NAN_ROBOT, "contact_friction": 0.5}}
    settings = {**dump.facts["config"], "task_kwargs": edited}
    write_dump(path, Dump({**dump.facts, "config": settings}, dump.arrays))
    assert replay(path).lines[1] == (
        "another plant is drawn here, the task has changed: contact_friction is 0.5, in the dump "
        "1.0"
    )


def test_a_full_disk_costs_the_dump_and_not_the_error(
    tiny_config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(tiny_config, task=NAN_TASK)
    scores = train(config, tmp_path / "run")
    next(scores)
    with files_limited_to(3_000), pytest.raises(EpisodeError) as error:
        list(scores)
    assert str(error.value).endswith("seed 0")
    assert "the failure is not remembered: " in caplog.text
    assert not RunFolder(tmp_path / "run").dump.exists()


# --- evaluations ------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> Evaluation:
    plant = write_plant(tmp_path / "robot.json", WILD_ROBOT)
    return Evaluation(Path("trot"), params=str(plant), episodes=5, seconds=1.0, workers=0)


def test_an_evaluation_dumps_the_first_that_diverge_beside_its_report(
    job: Evaluation, tmp_path: Path
) -> None:
    report = tmp_path / "reports" / "wild.json"
    options = ("--policy", "trot", "--params", job.params, "--episodes", "5", "--seconds", "1")
    done = minitaur("eval", *options, "--workers", "2", "--report", report)
    assert done.returncode == 0
    _, *episodes, more, wrote = done.stdout.splitlines()
    assert [line.split(":")[0] for line in episodes] == ["episode 0", "episode 1", "episode 2"]
    assert more == "2 more simulations diverged, of which there is no dump"
    assert wrote == f"wrote {report}"
    files = sorted(path.name for path in report.parent.iterdir())
    assert files == [*(f"wild.episode{k}.npz" for k in range(3)), "wild.json"]
    summary = json.loads(report.read_text())
    assert summary["causes"] == {"diverged": 5}
    assert "dump" not in summary["falls"][0]

    replayed = minitaur(*command_in(episodes[1]))
    assert replayed.returncode == 0
    what = episodes[1].removeprefix("episode 1: ").partition("; see it again")[0]
    assert what.startswith("the simulation diverged: ")
    assert replayed.stdout.endswith(f"again: {what}\n")
    assert "first beyond measure: torque, Nm " in replayed.stdout


def test_a_plant_that_is_nan_is_a_failure_of_its_own_and_no_error(
    job: Evaluation, tmp_path: Path
) -> None:
    plant = write_plant(tmp_path / "nan.json", NAN_ROBOT)
    for policy in ("trot", "walk"):  # without and with a course
        nan = dataclasses.replace(
            job, policy=Path(policy), plant="mujoco", params=str(plant), episodes=1
        )
        (result,) = evaluate(nan)
        assert (result.cause, result.survived, result.speed_mps) == ("diverged", False, 0.0)
        report = summarize(nan, [result])
        json.dumps(report, allow_nan=False)
        walked = dataclasses.replace(result, cause="", mean_power_w=40.0, cost_of_transport=0.6)
        mixed = summarize(nan, [walked, result])
        assert (mixed["survived"], mixed["mean_power_w"], mixed["cost_of_transport"]) == (
            0,
            40.0,
            0.6,
        )
        assert (report["course"] is not None) == (policy == "walk")
        (line,) = write_dumps([result], tmp_path / f"{policy}.json")
        assert line.startswith("episode 0: the episode diverged in reset: non_finite_observation: ")
        assert replay(tmp_path / f"{policy}.episode0.npz").is_same


def test_a_healthy_evaluation_has_no_dump(job: Evaluation, tmp_path: Path) -> None:
    (result,) = evaluate(dataclasses.replace(job, params=None, episodes=1, seconds=0.1))
    assert result.dump is None
    assert list(write_dumps([result], tmp_path / "r.json")) == []
    assert not list(tmp_path.glob("*.npz"))


def test_what_did_not_diverge_again_is_told(job: Evaluation, tmp_path: Path) -> None:
    (result,) = evaluate(dataclasses.replace(job, episodes=1))
    dump = result.dump
    assert dump is not None
    nominal = dataclasses.asdict(PlantParams())
    path = tmp_path / "mended.npz"
    write_dump(path, Dump({**dump.facts, "params": nominal}, dump.arrays))
    done = minitaur("replay", path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"no longer: {dump.facts['cause']}"


# --- the file, and the command ----------------------------------------------------------------


def test_a_dump_is_told_apart_from_a_log_by_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "failure.npz"
    write_dump(path, new_dump("update", {}))
    assert is_dump(path)
    assert is_dump(tmp_path)  # its folder
    np.savez(tmp_path / "run.npz", tick=np.arange(3))
    for other in (tmp_path / "run.npz", tmp_path / "nowhere", tmp_path / "run.mcap"):
        assert not is_dump(other)


def test_a_log_is_replayed_without_the_training_floor() -> None:
    script = (
        "import sys\nfrom minitaur.replay import main\ncode = main(['nowhere.npz'])\n"
        "print(code, [m for m in sys.modules if m.partition('.')[0] in ('training', 'sim')])"
    )
    done = python("-c", script)
    assert done.stdout == "2 []\n"
    assert_one_line(done.stderr, "nowhere.npz")


def test_what_is_no_dump_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with pytest.raises(DumpError, match="cannot be read: No such file"):
        read_dump(path)
    path.write_bytes(b"PK")
    with pytest.raises(DumpError, match="is damaged, or no dump"):
        read_dump(path)
    np.savez(path, tick=np.arange(3))
    with pytest.raises(DumpError, match="is damaged, or no dump"):
        read_dump(path)
    write_dump(path, Dump({"format": "minitaur-dump", "format_version": 9}, {}))
    with pytest.raises(DumpError, match="has version 9, not 1"):
        read_dump(path)
    write_dump(path, new_dump("dream", {}))
    with pytest.raises(DumpError, match="unknown kind 'dream'"):
        replay(path)
    write_dump(path, new_dump("episode", {}))
    done = minitaur("replay", path)
    assert done.returncode == 2
    assert_one_line(done.stderr, "lacks what its kind needs: KeyError('config')")


def test_a_table_shows_the_last_steps_and_names_what_grew_first() -> None:
    rows = [{"step": float(k), "torque, Nm": 2.0**k, "reward": 10.0 ** (k - 10)} for k in range(15)]
    *lines, first = table(rows)
    assert lines[0].split() == ["step", "torque,", "Nm", "reward"]
    assert [line.split()[0] for line in lines[1:]] == [str(k) for k in range(5, 15)]
    assert first == "first beyond measure: torque, Nm 64 in step 6"
    assert table(rows[:3])[-1] == "nothing was beyond measure before"
    assert table([]) == []
