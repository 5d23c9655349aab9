import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.processes import run_python

from sim.model.link_tree import ModelError
from sim.model.minitaur import MODELS, load_tree, model_named


def test_loops_close_at_the_start_pose(name: str) -> None:
    model = MODELS[name]
    for merged in (False, True):
        poses = load_tree(name, merged=merged).poses(model.start_positions)
        for closure in model.closures:
            right, left = (poses[link].apply(point) for link, point in closure)
            assert np.linalg.norm(right - left) < 2e-5
            assert right[2] < -0.15  # feet below the body
    assert poses["lower_leg_front_leftL_link"].xyz[0] > 0
    assert poses["lower_leg_front_leftL_link"].xyz[1] > 0
    assert poses["lower_leg_back_rightR_link"].xyz[0] < 0
    assert poses["lower_leg_back_rightR_link"].xyz[1] < 0


def test_published_start_pose_is_that_of_minitaur_only() -> None:
    assert_allclose(np.abs(MODELS["minitaur"].start_knees_rad), 2.1834, atol=1e-5)
    knees = np.array(MODELS["minitaur_rainbow_dash"].start_knees_rad)
    assert np.abs(np.abs(knees) - 2.1834).min() > 0.05


def test_names_of_the_models_exist_in_their_files(name: str) -> None:
    model = MODELS[name]
    tree = load_tree(name, merged=True)
    assert tree.root == model.body_collisions[0]
    moving = [joint.name for joint in tree.moving_joints]
    assert sorted(moving) == sorted(model.motor_joints + model.knee_joints)
    children = {joint.name: joint.child for joint in tree.joints}
    assert tuple(children[knee] for knee in model.knee_joints) == model.lower_legs
    original = {link.name for link in load_tree(name, merged=False).links}
    assert original.issuperset(model.body_collisions)
    assert model.touches_floor(tree.root)
    assert not model.touches_floor("upper_leg_front_leftL_link")


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ModelError, match="'cheetah'; known: minitaur_rainbow_dash, minitaur"):
        model_named("cheetah")
    with pytest.raises(ModelError, match="known: "):
        load_tree("cheetah", merged=True)
    tree = load_tree("minitaur", merged=True)
    with pytest.raises(ModelError, match="no link tail"):
        tree.link("tail")
    with pytest.raises(ModelError, match="no joint tail"):
        tree.poses({"tail": 0.0})


def test_trees_are_cached_and_cannot_be_changed() -> None:
    tree = load_tree("minitaur", merged=True)
    assert load_tree("minitaur", merged=True) is tree
    with pytest.raises(ValueError, match="read-only"):
        tree.links[0].inertia[0, 0] = 2.0


def test_models_load_without_a_physics_engine() -> None:
    code = (
        "import sys; from sim.model.minitaur import load_tree; load_tree('minitaur', merged=True); "
        "print([m for m in ('pybullet', 'pybullet_data', 'torch') if m in sys.modules])"
    )
    assert run_python("-c", code).stdout == "[]\n"
