"""Trials: what is chosen follows from the trials before, whatever process asks."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from training.sweeps.space import Listed, Ranged
from training.sweeps.trials import Trials

SPACE = {"x": Ranged(0.1, 10.0, True), "y": Listed((1, 2))}


def score(values):
    return -abs(values["x"] - 1.0) + values["y"]


def choose(journal, space, number):
    """Open the journal anew, as another process would, and give the next trial its score."""
    trials = Trials(journal, space)
    values = trials.values(number)
    trials.tell(number, score(values) if number != 2 else None)
    return values


def test_a_restart_before_every_trial_changes_nothing(tmp_path):
    trials = Trials(tmp_path / "a", SPACE)
    chosen = []
    for number in range(1, 14):
        chosen.append(trials.values(number))
        trials.tell(number, score(chosen[-1]) if number != 2 else None)
    assert [choose(tmp_path / "b", SPACE, number) for number in range(1, 14)] == chosen
    assert all(0.1 <= values["x"] <= 10.0 for values in chosen)
    assert {values["y"] for values in chosen} == {1, 2}
    assert len({values["x"] for values in chosen}) == 13


def test_a_trial_under_way_is_the_same_again(tmp_path):
    values = Trials(tmp_path / "a", SPACE).values(1)
    trials = Trials(tmp_path / "a", SPACE)
    assert len(trials) == 1
    assert trials.values(1) == values
    assert len(trials) == 1


def test_the_first_ten_trials_are_drawn_and_the_others_learn(tmp_path):
    """Of 30 trials the last ten are nearer to the best value than the first ten."""
    space = {"x": Ranged(0.0, 10.0, False)}
    trials, far = Trials(tmp_path / "a", space), []
    for number in range(1, 31):
        far.append(abs(trials.values(number)["x"] - 7.0))
        trials.tell(number, -far[-1])
    assert sum(far[20:]) < 0.5 * sum(far[:10])


def test_lists_are_tried_in_every_combination_once(tmp_path):
    space = {"x": Listed((1, 2, 3)), "y": Listed((0.5, 1.0))}
    found = [choose(tmp_path / "a", space, number) for number in range(1, 7)]
    assert len({tuple(values.items()) for values in found}) == 6
    assert all(list(values) == ["x", "y"] for values in found)
    # A fair sample: the first ones are not all of one value.
    assert len({values["x"] for values in found[:3]}) > 1


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b""])
def test_what_a_kill_leaves_is_mended(torn, tmp_path):
    journal = tmp_path / "a"
    chosen = choose(journal, SPACE, 1)
    journal.write_bytes(journal.read_bytes() + torn)
    (tmp_path / "a.lock").symlink_to(journal)
    trials = Trials(journal, SPACE)
    assert trials.values(1) == chosen
    assert trials.values(2) != chosen


LISTS = {"y": Listed((1, 2, 3))}


@pytest.mark.parametrize(
    ("space", "is_planned"), [(SPACE, False), (LISTS, False), (LISTS, True), ({}, True)]
)
def test_a_trial_that_a_kill_left_without_its_values_does_not_count(space, is_planned, tmp_path):
    expected = Trials(tmp_path / "a", space).values(1)
    Trials(tmp_path / "b", space)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "b")))
    study = optuna.load_study(study_name="sweep", storage=storage)
    if is_planned:
        study.enqueue_trial(dict(expected))
    else:
        study.ask()
    trials = Trials(tmp_path / "b", space)
    assert len(trials) == 0
    assert trials.values(1) == expected
    trials.tell(1, 1.0)
    assert len(Trials(tmp_path / "b", space)) == 1


def test_a_trial_like_an_earlier_one_is_known(tmp_path):
    space = {"x": Ranged(1, 2, False)}
    trials = Trials(tmp_path / "a", space)
    values = [trials.values(number)["x"] for number in range(1, 5)]
    assert [trials.first_like(n) for n in range(1, 5)] == [1 + values.index(x) for x in values]


def test_a_score_that_was_given_stays(tmp_path):
    journal = tmp_path / "a"
    trials = Trials(journal, SPACE)
    trials.values(1)
    trials.tell(1, 1.0)
    before = journal.read_bytes()
    trials.tell(1, 2.0)
    assert journal.read_bytes() == before
