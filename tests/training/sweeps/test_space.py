"""What a sweep varies: texts worked out by hand, and every way to mistype one."""

from dataclasses import replace

import pytest

from training.errors import ConfigError
from training.runs.presets import pendulum, trot
from training.sweeps.space import (
    Listed,
    Ranged,
    described,
    grid,
    numeric_fields,
    parse_space,
    with_values,
)

RATE = "ppo.policy_learning_rate"
CLIP = "ppo.objective.clip_range"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (f"{RATE}=1e-4..1e-3:log", Ranged(0.0001, 0.001, True)),
        (f"{RATE}=.5..1.", Ranged(0.5, 1.0, False)),
        (f"{CLIP}=0.3,0.1,0.2", Listed((0.1, 0.2, 0.3))),
        ("network.init_log_std=-2..-1", Ranged(-2.0, -1.0, False)),
        ("ppo.policy_epochs=5..20", Ranged(5, 20, False)),
        ("ppo.minibatch_size=512", Listed((512,))),
        ("ppo.max_grad_norm=1", Listed((1.0,))),
        ("task_kwargs.reward.energy=0.01,0.02", Listed((0.01, 0.02))),
    ],
)
def test_a_word_is_a_list_or_a_range(word, found):
    space = parse_space([word], trot())
    assert space == {word.partition("=")[0]: found}
    (varied,) = space.values()
    assert [type(end) for end in varied.ends] == [type(end) for end in found.ends]


def test_one_space_has_one_text_however_it_is_typed():
    words = [f"{RATE}=1e-4..1e-3:log", f"{CLIP}=0.3,0.1"]
    others = [f"{CLIP}=.1,.30", f"{RATE}=0.0001..0.001:log"]
    texts = [
        [(name, str(varied)) for name, varied in parse_space(typed, trot()).items()]
        for typed in (words, others)
    ]
    assert texts[0] == texts[1] == [(CLIP, "0.1,0.3"), (RATE, "0.0001..0.001:log")]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ppo.clip=0.1", f"no such number; did you mean {CLIP}\\?"),
        ("ppo.polcy_epochs=1", r"did you mean ppo\.policy_epochs\?"),
        ("ppo.learning_rate=1", f"did you mean ppo.value_learning_rate or {RATE}\\?"),
        ("network.policy_layers=8", "no such number"),
        ("ppo.privileged_value=1", "no such number"),
        ("workers=1,2", "no such number"),
        ("seed=1,2", r"--vary seed: the seeds are 0, 1, \.\.\. up to --seeds"),
        ("seeds", "--vary seeds: write NAME=VALUE"),
        (f"{RATE}=", f"--vary {RATE}=: write NAME=VALUE"),
        (f"{RATE}=1e-3,", "'' is no number; write"),
        (f"{RATE}=1e-4..", "'' is no number"),
        (f"{RATE}=1..2..3", r"'2\.\.3' is no number"),
        (f"{RATE}=1e-3..1e-4", "0.001 is not less than 0.0001"),
        (f"{RATE}=0..1:log", "a log scale begins above 0"),
        (f"{RATE}=1,2:log", r":log is for a range, LOW\.\.HIGH:log"),
        (f"{RATE}=1e-3,0.001", "0.001 is there twice"),
        (f"{RATE}=nan,1", "nan is not finite"),
        (f"{RATE}=1..inf", "inf is not finite"),
        ("ppo.policy_epochs=1.5,2", "'1.5' is no whole number"),
        ("ppo.discount=0.9..1.5", r"ppo\.discount must be in \[0, 1\], is 1\.5"),
        (f"{RATE}=-1,1", "policy_learning_rate must be positive, got -1.0"),
    ],
)
def test_a_mistyped_word_is_refused(word, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_space([word], trot())
    assert "\n" not in str(caught.value)


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(ConfigError, match=f"--vary {RATE} is there twice"):
        parse_space([f"{RATE}=1", f"{RATE}=2"], trot())


def test_the_numbers_of_a_configuration_are_its_own():
    fields = numeric_fields(trot())
    assert fields["ppo.policy_epochs"] is fields["ppo.minibatch_size"] is int
    assert fields["ppo.max_grad_norm"] is fields["task_kwargs.nominal_share"] is float
    assert CLIP in fields
    assert "ppo.objective.target" in numeric_fields(pendulum())
    assert numeric_fields(pendulum())["task_kwargs.max_steps"] is int


def test_values_replace_those_of_the_configuration_and_no_others():
    config = with_values(
        trot(), {CLIP: 0.3, "ppo.policy_epochs": 7, "task_kwargs.reward.fall": 2.0}
    )
    expected = trot()
    ppo = replace(
        expected.ppo, policy_epochs=7, objective=replace(expected.ppo.objective, clip_range=0.3)
    )
    reward = {**expected.task_kwargs["reward"], "fall": 2.0}
    kwargs = {**expected.task_kwargs, "reward": reward}
    assert config == replace(expected, ppo=ppo, task_kwargs=kwargs)


def test_a_value_without_a_number_of_that_name_is_refused():
    assert with_values(trot(), {"seed": 3, "workers": 1}).seed == 3
    for name in ("ppo.polcy_epochs", "pppo.policy_epochs"):
        with pytest.raises(ConfigError, match=rf"{name}: .*did you mean ppo\.policy_epochs\?"):
            with_values(trot(), {name: 1})


def test_a_grid_is_every_combination_of_lists():
    space = {"a": Listed((1.0, 2.0)), "b": Listed((5, 6))}
    assert grid(space) == [
        {"a": 1.0, "b": 5}, {"a": 1.0, "b": 6}, {"a": 2.0, "b": 5}, {"a": 2.0, "b": 6},
    ]  # fmt: skip
    assert grid({}) == [{}]
    assert grid({**space, "c": Ranged(0.0, 1.0, False)}) is None


def test_values_are_described_in_four_digits():
    assert described({"a.b": 0.000123456, "c": 123456}) == "a.b=0.0001235, c=123456"
