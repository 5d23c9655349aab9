"""Calibrated plants in evaluation and training: what is drawn, what is written, what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.plants import write_plant

from sim.errors import ParameterError
from sim.plant.params import PlantParams
from sim.plant.params_file import read_params
from sim.plant.randomization import TABLE1, drawn
from training import evaluate as evaluate_command
from training import train as train_command
from training.errors import ConfigError, EvaluationError
from training.evaluate import evaluate
from training.evaluation.job import EMULATOR, EpisodeResult, Evaluation
from training.evaluation.report import summarize
from training.runs.config import TrainConfig
from training.runs.folder import RunFolder
from training.tasks.env import LocomotionEnv
from training.tasks.minitaur import make_trot, trot_task
from training.train import Arguments, resolve

pytestmark = pytest.mark.usefixtures("own_handlers")

OFFSETS = (0.02, -0.02, 0.0, 0.01, 0.0, 0.0, -0.01, 0.0)


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """Take away the log handlers that the training command adds."""
    logger = logging.getLogger("training")
    before = logger.handlers.copy()
    yield
    logger.handlers[:] = before


@pytest.fixture
def slippery(tmp_path: Path) -> Path:
    """A robot that differs in what every engine shows: a floor of ice, and half its weight more."""
    values = {"contact_friction": 0.1, "base_mass_scale": 1.5, "encoder_offset_rad": OFFSETS}
    intervals = {
        "contact_friction": (0.08, 0.12),
        "encoder_offset_rad": (
            tuple(each - 0.005 for each in OFFSETS),
            tuple(each + 0.005 for each in OFFSETS),
        ),
    }
    path = tmp_path / "slippery.json"
    return write_plant(path, values, intervals, unknown=("policy_latency_s", "control_step_s"))


def job_on(plant: str, params: Path | None, **change: Any) -> Evaluation:
    job = Evaluation(plant=plant, episodes=1, seconds=1.0, workers=0)
    return dataclasses.replace(job, params=None if params is None else str(params), **change)


@pytest.mark.parametrize("plant", ["pybullet", "mujoco", EMULATOR])
def test_an_evaluation_is_on_the_calibrated_robot(plant: str, slippery: Path) -> None:
    job = job_on(plant, slippery)
    (calibrated,) = evaluate(job)
    (nominal,) = evaluate(job_on(plant, None))
    params = PlantParams(**calibrated.params)  # type: ignore[arg-type]
    drawn_too = {"seed": params.seed, "start_heading_rad": params.start_heading_rad}
    assert params == dataclasses.replace(read_params(slippery).params, **drawn_too)
    # The same seed and heading as on the nominal robot, so that the two can be compared.
    assert {name: nominal.params[name] for name in drawn_too} == drawn_too
    assert calibrated.speed_mps < 0.7 * nominal.speed_mps
    digest = hashlib.sha256(slippery.read_bytes()).hexdigest()
    report = summarize(job, [calibrated])
    assert report["params"] == {"file": str(slippery), "name": "slippery", "sha256": digest}
    assert summarize(job_on(plant, None), [nominal])["params"] is None


@pytest.mark.parametrize("plant", ["pybullet", EMULATOR])
def test_measured_plants_are_those_of_the_intervals(plant: str, slippery: Path) -> None:
    job = job_on(plant, slippery, randomization="measured", seconds=0.05)
    (result,) = evaluate(job)
    expected = drawn("measured", job.seed_of(0), read_params(slippery))
    assert result.params == dataclasses.asdict(expected)
    assert expected.control_step_s == 0.006  # the contract's, told or not
    assert 0.08 <= expected.contact_friction <= 0.12
    assert expected.policy_latency_s != 0.015
    # As JSON and back it is the same plant, encoder offsets included.
    fallen = dataclasses.replace(result, survived=False)
    text = json.dumps(summarize(job, [fallen]), allow_nan=False)
    assert PlantParams(**json.loads(text)["falls"][0]["params"]) == expected


def test_table1_is_about_the_calibrated_robot(slippery: Path) -> None:
    job = job_on("pybullet", slippery, randomization="table1", episodes=20, seconds=0.01)
    drawn_params = [result.params for result in evaluate(job)]
    masses = [params["base_mass_scale"] for params in drawn_params]
    assert {params["encoder_offset_rad"] for params in drawn_params} == {OFFSETS}
    assert 1.2 <= min(masses) < 1.35  # 0.8 to 1.2 times 1.5
    assert 1.65 < max(masses) <= 1.8


def test_workers_are_on_the_plant_that_was_read(slippery: Path) -> None:
    """Even if the file is changed meanwhile."""
    job = job_on("pybullet", slippery, randomization="measured", episodes=3, seconds=0.2)
    read = job.calibrated()
    alone = list(evaluate(job, read))
    write_plant(slippery, {"contact_friction": 2.0})
    shared = list(evaluate(dataclasses.replace(job, workers=2), read))
    assert shared == alone
    assert summarize(job, shared, read)["params"]["sha256"] == read.sha256  # type: ignore[union-attr]


def edited(path: Path, **change: Any) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return path


BAD = [
    (lambda path: edited(path, version=2), "it has version 2, this program reads version 1"),
    (lambda path: edited(path, params={"friktion": 1}), "unknown plant parameter 'friktion'"),
    (lambda path: path.with_name("none.json"), "cannot be read: No such file"),
    (lambda _: "walk-2018", "unknown calibrated plant 'walk-2018'; did you mean walk-2019?"),
]


@pytest.mark.parametrize(("break_", "message"), BAD)
def test_a_bad_plant_is_one_line_in_every_command(
    break_: Callable[[Path], Path | str],
    message: str,
    slippery: Path,
    shipped_plants: Path,
    error_line: Callable[[], str],
) -> None:
    write_plant(shipped_plants / "walk-2019.json", {})
    params = str(break_(slippery))
    assert evaluate_command.main(["--params", params, "--episodes", "1"]) == 2
    assert message in error_line()
    logdir = slippery.with_name("runs")
    command = ["--config", "trot", "--params", params, "--logdir", str(logdir)]
    assert train_command.main(command) == 2
    assert message in error_line()
    assert not logdir.exists()


def test_measured_needs_a_calibrated_plant(error_line: Callable[[], str], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="name one with --params"):
        next(evaluate(Evaluation(randomization="measured")))
    assert evaluate_command.main(["--randomization", "measured"]) == 2
    assert "name one with --params" in error_line()
    assert train_command.main(["--config", "trot", "--randomization", "measured"]) == 2
    assert error_line() == (
        "error: randomization 'measured' needs a calibrated plant: name one "
        "(--params FILE or NAME)\n"
    )
    with pytest.raises(ConfigError, match="give the ranges of a calibrated plant themselves"):
        make_trot(randomization="measured")


# Training.


def test_a_pendulum_has_no_calibrated_robot(
    slippery: Path, tmp_path: Path, error_line: Callable[[], str]
) -> None:
    command = ["--config", "pendulum", "--logdir", str(tmp_path / "runs")]
    assert train_command.main([*command, "--params", str(slippery)]) == 2
    assert "need a task with a Minitaur; pendulum trains MinitaurStack/InvertedP" in error_line()
    assert not (tmp_path / "runs").exists()


def environment(config: TrainConfig, **change: Any) -> LocomotionEnv:
    return LocomotionEnv(trot_task(), **{**dict(config.task_kwargs), **change})


def test_a_training_has_the_values_of_the_plant_in_its_configuration(
    slippery: Path, tmp_path: Path
) -> None:
    arguments = Arguments("trot", logdir=tmp_path / "runs", params=str(slippery))
    config, _ = resolve(arguments)
    kwargs = config.task_kwargs
    assert kwargs["nominal"] == {
        "contact_friction": 0.1,
        "base_mass_scale": 1.5,
        "encoder_offset_rad": list(OFFSETS),
    }
    ranges = kwargs["randomization"]
    assert isinstance(ranges, dict)
    assert set(ranges) == set(TABLE1)
    assert ranges["base_mass_scale"] == pytest.approx((1.2, 1.8))
    assert ranges["contact_friction"] == [0.1, 1.25]
    assert "slippery" not in json.dumps(dict(kwargs))
    measured, _ = resolve(dataclasses.replace(arguments, randomization="measured"))
    ranges = measured.task_kwargs["randomization"]
    assert isinstance(ranges, dict)
    assert set(ranges) == {"contact_friction", "encoder_offset_rad", "policy_latency_s"}
    plain, _ = resolve(Arguments("trot", logdir=tmp_path / "plain", randomization="beyond"))
    assert plain.task_kwargs["randomization"] == "beyond"
    assert "nominal" not in plain.task_kwargs


def test_its_environments_draw_about_the_plant_and_evaluate_on_it(
    slippery: Path, tmp_path: Path
) -> None:
    config, _ = resolve(
        Arguments("trot", logdir=tmp_path, params=str(slippery), randomization="measured")
    )
    training, evaluation = environment(config), environment(config, **config.eval_kwargs)
    frictions = set()
    for seed in range(8):
        params: PlantParams = training.reset(seed=seed)[1]["params"]
        frictions.add(params.contact_friction)
        assert 0.08 <= params.contact_friction <= 0.12
        assert (params.base_mass_scale, params.push_force_high_n) == (1.5, 180.0)
        assert np.abs(np.subtract(params.encoder_offset_rad, OFFSETS)).max() <= 0.005
    assert 0.1 in frictions  # a share of the episodes is on the robot as it is
    assert len(frictions) > 4
    params = evaluation.reset(seed=0)[1]["params"]
    seen = {"seed": params.seed, "start_heading_rad": params.start_heading_rad}
    assert params == dataclasses.replace(read_params(slippery).params, **seen)
    assert evaluation.contract.control_period_s == params.control_step_s
    for env in (training, evaluation):
        env.close()


def test_an_empty_name_among_several_is_named(slippery: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has an empty name: mind the commas"):
        resolve(Arguments("trot", logdir=tmp_path, params=f"{slippery},,nominal"))


def test_a_policy_is_trained_for_several_robots_and_evaluated_on_each_as_it_is(
    slippery: Path, tmp_path: Path
) -> None:
    config, _ = resolve(Arguments("trot", logdir=tmp_path, params=f"nominal, {slippery}"))
    training, evaluation = environment(config), environment(config, **config.eval_kwargs)
    drawn = [training.reset(seed=seed)[1]["params"] for seed in range(40)]
    heavy = [params for params in drawn if params.base_mass_scale > 1.2]  # Table I ends there
    assert 10 <= len(heavy) <= 30
    # Each about its own robot, and with the shoves of the configuration.
    assert all((params.encoder_offset_rad == OFFSETS) == (params in heavy) for params in drawn)
    assert {params.push_force_high_n for params in drawn} == {180.0}
    seen = {evaluation.reset(seed=seed)[1]["params"].base_mass_scale for seed in range(20)}
    assert seen == {1.0, 1.5}
    for env in (training, evaluation):
        env.close()


def test_ranges_of_a_configuration_are_about_each_robot_too(slippery: Path, tmp_path: Path) -> None:
    config, _ = resolve(Arguments("walk", logdir=tmp_path, params=f"nominal,{slippery}"))
    ranges = config.task_kwargs["randomization"]
    assert isinstance(ranges, dict)
    assert ranges["toe_stiffness_n_per_m"] == [3000.0, 20000.0]
    (other,) = config.task_kwargs["robots"]
    # Table I's 0.8 to 1.2 about 1.5; and what the configuration has beside Table I.
    assert other["randomization"]["base_mass_scale"] == pytest.approx([1.2, 1.8])
    assert other["randomization"]["toe_stiffness_n_per_m"] == [3000.0, 20000.0]
    # It is evaluated on the plants of training, so on those of both.
    assert "robots" not in config.eval_kwargs
    evaluation = environment(config, **config.eval_kwargs)
    seen = [evaluation.reset(seed=seed)[1]["params"] for seed in range(40)]
    evaluation.close()
    assert len({params.base_mass_scale for params in seen}) > 20
    assert any(params.encoder_offset_rad == OFFSETS for params in seen)


@pytest.fixture
def train_tiny(
    monkeypatch: pytest.MonkeyPatch, slippery: Path, tmp_path: Path
) -> Callable[..., int]:
    """Calls the command on a tiny trot in one folder."""

    def tiny() -> TrainConfig:
        """Tiny: for this test."""
        from training.runs.presets import trot

        return dataclasses.replace(
            trot(),
            name="tiny",
            total_steps=40,
            episodes_per_update=2,
            eval_episodes=1,
            task_kwargs={"randomization": "table1", "episode_s": 0.2},
            workers=0,
        )

    monkeypatch.setattr("training.runs.presets.CONFIGS", {"tiny": tiny})

    def call(*arguments: str) -> int:
        return train_command.main(["--config", "tiny", "--logdir", str(tmp_path), *arguments])

    return call


def test_a_run_goes_on_without_the_file_and_not_on_another_plant(
    slippery: Path,
    train_tiny: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = ("--timestamp", "t")
    measured = ("--params", str(slippery), "--randomization", "measured")
    assert train_tiny(*named, *measured) == 0
    folder = RunFolder(tmp_path / "t-tiny")
    before = folder.config()
    assert before.task_kwargs["nominal"] == {
        "contact_friction": 0.1,
        "base_mass_scale": 1.5,
        "encoder_offset_rad": list(OFFSETS),
    }
    folder.finished.unlink()  # as if it had been killed before the last word
    capsys.readouterr()
    assert train_tiny(*named, *measured) == 0
    values = json.loads(slippery.read_text())["params"]
    edited(slippery, params={**values, "contact_friction": 0.09})
    capsys.readouterr()
    assert train_tiny(*named, *measured) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "t-tiny was made on other plants (task_kwargs.nominal.contact_friction: 0.09, not " in (
        error
    )
    assert "leave --params, --randomization and --plant out to resume it" in error
    assert train_tiny(*named, "--plant", "mujoco") == 2
    assert "was made on other plants (task_kwargs.plant: 'mujoco', not 'pybullet')" in (
        capsys.readouterr().err
    )
    assert train_tiny(*named, "--randomization", "beyond") == 2
    assert "was made on other plants" in capsys.readouterr().err
    slippery.unlink()
    folder.finished.unlink()
    assert train_tiny(*named) == 0
    assert folder.finished.exists()
    assert folder.config() == before


def test_the_command_of_the_evaluation_end_to_end(
    slippery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    command = ["--params", str(slippery), "--randomization", "measured", "--seconds", "0.2"]
    command += ["--episodes", "2", "--workers", "0", "--report", str(report)]
    assert evaluate_command.main(command) == 0
    assert f"pybullet as {slippery}, randomization measured: 2 of 2" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert written["params"]["file"] == str(slippery)
    assert written["randomization"] == "measured"


def test_an_evaluation_that_is_asked_for_again_reads_the_file_again(slippery: Path) -> None:
    job = job_on("pybullet", slippery, seconds=0.01)
    first: EpisodeResult = next(evaluate(job))
    write_plant(slippery, {"contact_friction": 0.5})
    assert next(evaluate(job)).params["contact_friction"] == 0.5
    assert first.params["contact_friction"] == 0.1
    slippery.write_text("{}")
    with pytest.raises(ParameterError, match=r"slippery\.json: "):
        next(evaluate(job))
