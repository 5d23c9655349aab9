"""The walk's ablation: what each variant lacks, table and figure by hand, one training for real."""

import dataclasses
import json

import gymnasium
import pytest

import training.tasks  # noqa: F401  registers the tasks
from studies import walk_ablation
from studies.study import Result, conduct
from studies.walk_ablation import AS_SHIPPED, REFERENCE, VARIANTS, WHERE, WalkAblation
from training.runs.config import config_to_json
from training.runs.presets import walk
from training.tasks.minitaur import walk_task

GROUND = {"block_height_m", "sill_height_m", "slope_rad", "cross_slope_rad"}
PUSHES = {"push_force_low_n", "push_force_high_n"}


def drawn(name, episodes=20):
    """The task of a variant, and the plants of some of its episodes."""
    kwargs = WalkAblation(steps=1000).config(VARIANTS[name], 0).task_kwargs
    env = gymnasium.make(walk().task, disable_env_checker=True, **kwargs)
    plants = [env.reset(seed=seed)[1]["params"] for seed in range(episodes)]
    env.close()
    return env.unwrapped.contract, plants


def varying(plants):
    """Names of the parameters that differ from one plant to the next."""
    names = [field.name for field in dataclasses.fields(plants[0])]
    return {name for name in names if len({repr(getattr(each, name)) for each in plants}) > 1}


def test_each_variant_lacks_what_its_name_says():
    whole, plants = drawn("whole")
    assert whole == walk_task().contract
    everything = varying(plants)
    assert everything >= GROUND | {"push_force_high_n", "base_mass_scale", "toe_stiffness_n_per_m"}
    names = [term.name for term in whole.observation]

    legs_only, plants = drawn("legs-only")
    assert legs_only.action == dataclasses.replace(whole.action, modulation=None)
    assert legs_only.action.size == 8
    assert [t.name for t in legs_only.observation] == [n for n in names if n != "modulators"]
    assert varying(plants) == everything

    no_memory, plants = drawn("no-memory")
    assert no_memory.action == whole.action
    assert [t.name for t in no_memory.observation] == [n for n in names if n != "unrest"]
    assert {term.history for term in no_memory.observation} == {1}
    assert varying(plants) == everything

    no_ground, plants = drawn("no-ground")
    assert no_ground == whole
    assert varying(plants) == everything - GROUND
    # As many of the episodes have shoves.
    scenes = [VARIANTS["no-ground"].kwargs["scenes"], walk().task_kwargs["scenes"]]
    assert [[bool(s.keys() & PUSHES) for s in each] for each in scenes] == [[0, 1, 0, 0, 0, 0]] * 2

    no_random, plants = drawn("no-random")
    assert no_random == whole
    assert varying(plants) == GROUND | PUSHES | {"seed", "start_heading_rad"}


def test_variants_differ_in_nothing_but_the_task():
    configs = [WalkAblation().config(variant, 0) for variant in VARIANTS.values()]
    bare = {config_to_json(dataclasses.replace(c, name="", task_kwargs={})) for c in configs}
    assert len(bare) == 1
    assert configs[0].task_kwargs == walk().task_kwargs
    assert configs[0].ppo == walk().ppo


def result(variant, seed, speed, rate):
    figures = {"speed_mps": speed, "survival_rate": rate, "survived": round(12 * rate)}
    measured = {"wall_seconds": 60.0, **dict.fromkeys(WHERE, figures)}
    name = variant if seed is None else f"{variant}.{seed}"
    return Result(name, {"variant": variant}, "abc1234", 60.0, measured)


RESULTS = [
    result("no-memory", 0, 0.4, 1.0),
    result("whole", 0, 0.7, 0.75),
    result(REFERENCE, None, 0.2, 0.5),
    result("whole", 1, 0.9, 0.25),
    result(AS_SHIPPED, None, 1.0, 1.0),
]


def test_table_and_figure_by_hand(tmp_path):
    WalkAblation(seeds=2).write(RESULTS, [], tmp_path)
    page = (tmp_path / "walk-ablation.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    head, _, first, *_, last = [[text.strip() for text in row] for row in rows]
    titles = ["the gait alone", "the shipped walk", "the whole recipe", "no memory"]
    assert head == ["condition", *titles]
    cells = ["0.20, 50 %", "1.00, 100 %", "0.80 (0.70 to 0.90), 50 %", "0.40, 100 %"]
    assert first == ["straight on at the greatest speed (`ahead`)", *cells]
    assert last == ["commit", *["abc1234"] * 4]
    assert len(rows) == 3 + len(WHERE)
    assert "all: 5 minutes" in page
    WalkAblation().draw(RESULTS[:1], tmp_path / "one.png")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("walk-ablation", "one")]
    assert sizes[0] > sizes[1]


@pytest.fixture
def in_two_places(monkeypatch):
    monkeypatch.setattr(walk_ablation, "WHERE", ("walk-2019", "mujoco-blocks20-table1"))


@pytest.mark.usefixtures("in_two_places")
def test_a_short_training_for_real(tmp_path, capsys):
    small = WalkAblation(
        variants=("legs-only",),
        seeds=1,
        steps=100,
        episodes=1,
        seconds=0.5,
        workers=0,
        results=tmp_path,
    )
    assert conduct(small) == 0
    rows = json.loads((tmp_path / "walk-ablation.json").read_text())["results"]
    alone, shipped, trained = (row["figures"] for row in rows)
    assert trained["steps"] >= 100
    # A policy that has learnt next to nothing does next to nothing, unlike the shipped one.
    for where in ("walk-2019", "mujoco-blocks20-table1"):
        speed = alone[where]["speed_mps"]
        assert trained[where]["speed_mps"] == pytest.approx(speed, abs=0.02)
        assert abs(shipped[where]["speed_mps"] - speed) > 0.03
    assert "3/3 legs-only.0: walk-2019 " in capsys.readouterr().err
