"""The search prefers gaits that walk, and its scores follow from the seed."""

import dataclasses

from support.plants import write_plant

from deploy.policy.gait import Steering
from training.search_gait import Search, score
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


def test_a_gait_is_tried_on_calibrated_plants_too(tmp_path):
    weak = write_plant(tmp_path / "weak.json", {"motor_strength_scale": 0.5})
    alone = dataclasses.replace(QUICK, plants=0)
    on_weak_too = dataclasses.replace(alone, params=(str(weak),))
    # The mean of a trial on each.
    assert score(TROT, on_weak_too) < score(TROT, alone) - 0.2
