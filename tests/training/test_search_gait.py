"""The search prefers gaits that walk, and its scores follow from the seed."""

import dataclasses

import pytest
from support.plants import write_plant

from deploy.policy.gait import Steering
from sim.errors import ParameterError
from training.search_gait import Search, find, score
from training.tasks.gaits import TROT, WALK

QUICK = Search(plants=1, shoved=0, seconds=2.0)


def test_the_reference_beats_the_papers_open_loop():
    papers = dataclasses.replace(
        TROT,
        frequency_hz=2.0,
        swing_amplitude_rad=0.3,
        extension_amplitude_rad=0.35,
        extension_centre_rad=2.0,
        swing_lead=0.0,
    )
    ours = score(TROT, QUICK)
    assert ours > score(papers, QUICK) + 0.2
    assert ours == score(TROT, QUICK)


def test_a_gait_that_falls_under_shoves_is_worth_less():
    # The shove of seed 0 does not throw it.
    shoved = Search(plants=0, shoved=1, seconds=2.0, shove_n=300.0, seed=1)
    calm = dataclasses.replace(shoved, shove_n=0.0)
    assert score(TROT, shoved) < score(TROT, calm) - 0.2


def test_a_walk_is_scored_by_how_it_follows_requests():
    unsteered = dataclasses.replace(WALK, steering=Steering((0.0,) * 4, (0.0,) * 4))
    # Courses on which there is something to follow.
    search = dataclasses.replace(QUICK, seconds=6.0, seed=1)
    assert score(WALK, search) > score(unsteered, search) + 0.1


def test_a_gait_is_tried_on_calibrated_plants_too():
    alone = dataclasses.replace(QUICK, plants=0)
    # The mean of a trial on each.
    on_weak_too = score(TROT, alone, [{"motor_strength_scale": 0.5}])
    assert on_weak_too < score(TROT, alone) - 0.2


def test_the_plants_of_a_search_are_read_before_it_begins(tmp_path, capfd):
    weak = write_plant(tmp_path / "weak.json", {"motor_strength_scale": 0.5})
    quick = dataclasses.replace(QUICK, generations=1, population=1, elite=1, plants=0)
    alone = find(dataclasses.replace(quick, workers=1))
    on_weak_too = find(dataclasses.replace(quick, workers=1, params=(str(weak),)))
    assert on_weak_too[0] == alone[0]
    assert on_weak_too[1] != alone[1]
    capfd.readouterr()
    with pytest.raises(ParameterError, match="no-robot"):
        find(dataclasses.replace(quick, params=("no-robot",)))
    assert capfd.readouterr() == ("", "")
