"""The drawn legs are where the simulated robot has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.view.legs import FORE, HIP_Z_M, REAR, Legs, tilts_rad
from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.five_bar import closed_knees
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named

# The lower links of the model are 8 mm shorter or longer than each other, and the description
# knows one length.
NEAR_M = 0.014


def test_level_upper_links_make_a_triangle_of_known_height():
    legs = Legs.at(np.full(8, np.pi / 2), MINITAUR)
    np.testing.assert_allclose(np.abs(legs.knees[:, 0] - legs.hips[:, 0]), 0.1)
    np.testing.assert_allclose(legs.knees[:, 2], HIP_Z_M, atol=1e-12)
    np.testing.assert_allclose(legs.pins[:, 2], HIP_Z_M - np.sqrt(0.2**2 - 0.1**2))
    np.testing.assert_allclose(legs.pins[:, 0], [0.2375, -0.2375, 0.2375, -0.2375], atol=1e-12)


def test_a_positive_swing_brings_every_toe_behind_its_hip():
    legs = Legs.at(leg_to_motor(np.array([0.3] * 4 + [2.0] * 4)), MINITAUR)
    assert (legs.pins[:, 0] < legs.hips[::2, 0] - 0.03).all()


def test_more_extension_makes_longer_legs():
    short, long = (Legs.at(np.full(8, angle), MINITAUR).pins[:, 2] for angle in (1.6, 2.4))
    assert (long < short - 0.03).all()


angles = st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4)
extensions = st.lists(st.floats(1.2, 2.6), min_size=4, max_size=4)


@given(angles, extensions)
def test_links_keep_their_lengths(swing, extension):
    legs = Legs.at(leg_to_motor(np.array(swing + extension)), MINITAUR)
    length = np.linalg.norm
    np.testing.assert_allclose(length(legs.knees - legs.hips, axis=1), 0.1)
    for chain in (REAR, FORE):
        np.testing.assert_allclose(length(legs.pins - legs.knees[chain], axis=1), 0.2)


@pytest.mark.parametrize("seed", range(5))
def test_knees_and_feet_are_where_the_model_has_them(seed):
    rng = np.random.default_rng(seed)
    motors = leg_to_motor(np.concatenate((rng.uniform(-0.5, 0.5, 4), rng.uniform(1.2, 2.6, 4))))
    model, tree = model_named(DEFAULT_MODEL), load_tree(DEFAULT_MODEL, merged=False)
    joints = MINITAUR.directions * motors
    angles = (*joints, *closed_knees(tree, model, joints))
    poses = tree.poses(dict(zip((*model.motor_joints, *model.knee_joints), angles, strict=True)))
    legs = Legs.at(motors, MINITAUR)
    for index, name in enumerate(model.lower_legs):
        knee = poses[name].apply((0.0, 0.0, 0.0))
        np.testing.assert_allclose(legs.knees[index, ::2], knee[::2], atol=0.002)
        if index in REAR:  # the long link, whose box ends 240 mm below the knee
            foot = poses[name].apply((0.0, 0.0, 0.24))
            np.testing.assert_allclose(legs.feet[index // 2, ::2], foot[::2], atol=NEAR_M)


def test_a_leg_that_cannot_be_closed_is_drawn_all_the_same():
    """As of an encoder that is wrong by half a turn."""
    motors = np.array([4.0, 0.2] * 4)
    assert np.isfinite(Legs.at(motors, MINITAUR).lines()).all()


def test_a_link_that_hangs_down_is_not_tilted():
    start = np.zeros((3, 3))
    end = np.array([(0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (1.0, 0.0, -1.0)])
    np.testing.assert_allclose(tilts_rad(start, end), [0.0, np.pi / 2, -np.pi / 4])
