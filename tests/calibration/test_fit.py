"""The search, its intervals, and what they promise."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.fit import (
    BOX,
    Fit,
    Objective,
    Progress,
    Space,
    _searcher,
    _steps_along,
    fit,
    robust,
    robust_mean,
    standard_deviations,
)
from calibration.readers import read_record
from sim.plant.params import VECTORS, PlantParams


@given(st.lists(st.floats(0.0, 1.0), min_size=len(BOX) + 7, max_size=len(BOX) + 7))
def test_a_point_of_the_cube_and_its_parameters_are_the_same(point):
    space = Space(tuple(BOX), PlantParams())
    assert len(space.labels) == len(point)
    np.testing.assert_allclose(space.of(space.params(np.array(point))), point, atol=1e-9)


def test_the_ends_of_the_cube_are_those_of_the_box():
    space = Space(tuple(BOX), PlantParams())
    low, high = (space.params(np.full(len(space.labels), end)) for end in (0.0, 1.0))
    for name, (least, most) in BOX.items():
        wide = 8 if name in VECTORS else 1
        assert np.atleast_1d(getattr(low, name)) == pytest.approx([least] * wide)
        assert np.atleast_1d(getattr(high, name)) == pytest.approx([most] * wide)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(CalibrationError, match="'seed' cannot be fitted; known: base_com_x_m"):
        Space(("seed",), PlantParams())
    with pytest.raises(CalibrationError, match="no parameter is left to fit"):
        Space((), PlantParams())


def test_the_loss_of_small_errors_is_their_square_and_of_large_ones_linear():
    assert robust_mean(np.array([[0.6, 0.8]])) == pytest.approx(0.5)
    # Huber's loss of 5 beyond 2: 2 (5 - 1).
    assert robust_mean(np.array([[3.0, 4.0]])) == pytest.approx(8.0)
    assert robust_mean(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(4.0)
    np.testing.assert_allclose(robust(np.array([[0.3, -0.4]])), [[0.3, -0.4]])


def test_the_interval_of_a_mean_is_that_of_statistics():
    """400 windows measure a number with noise 0.1: 0.1 / 20 is its deviation, taken 3 times."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((400, 1))
    std = standard_deviations(noise - noise.mean(), np.ones((400, 1, 1)))
    assert std[0] == pytest.approx(0.015, rel=0.1)


def test_what_the_errors_do_not_depend_on_keeps_the_width_of_the_box():
    rng = np.random.default_rng(0)
    jacobian = np.stack((np.ones((400, 1)), np.zeros((400, 1))), axis=-1)
    std = standard_deviations(0.1 * rng.standard_normal((400, 1)), jacobian)
    assert std == pytest.approx([0.015, 12.0**-0.5], rel=0.1)


def test_two_parameters_that_do_the_same_are_both_unknown():
    rng = np.random.default_rng(0)
    errors = 0.1 * rng.standard_normal((400, 1))
    std = standard_deviations(errors, np.ones((400, 1, 2)))
    assert std == pytest.approx(2 * [12.0**-0.5], rel=0.1)  # that of the box


def _make(path, engine, windows):
    return Objective([read_record(path)], engine, windows)


@pytest.fixture(scope="module")
def written(tmp_path_factory, mujoco_log):
    """The log of a second of a nominal robot in MuJoCo."""
    path = tmp_path_factory.mktemp("fit") / "run.npz"
    mujoco_log.save(path)
    path.with_suffix(".json").write_text(json.dumps({"robot": "sim"}))
    return path


def fitted(written, names, guess, workers=0, evaluations=14, windows=6):
    make = functools.partial(_make, written, "mujoco", windows)
    space = Space(names, guess)
    *states, found = fit(make, space, evaluations=evaluations, workers=workers, seed=0)
    return states, found


def test_a_robot_is_found_from_its_log(written):
    names = ("motor_strength_scale", "policy_latency_s", "imu_pitch_bias_rad")
    guess = PlantParams(motor_strength_scale=0.8, policy_latency_s=0.03)
    states, found = fitted(written, names, guess, windows=20)
    assert all(isinstance(state, Progress) for state in states)
    losses = [state.loss for state in states]
    assert losses[-1] < 0.5 * losses[0]
    assert isinstance(found, Fit)
    assert found.loss < 0.02 * found.start_loss
    assert found.params.policy_latency_s == pytest.approx(0.015, abs=0.0005)
    assert found.params.motor_strength_scale == pytest.approx(1.0, abs=0.03)
    assert found.params.imu_pitch_bias_rad == pytest.approx(0.0, abs=0.002)
    assert found.unknown == ()
    low, high = found.intervals["policy_latency_s"]
    assert low < found.params.policy_latency_s < high < low + 0.002
    # What was not searched stays as it was.
    assert found.params == dataclasses.replace(
        guess, **{name: getattr(found.params, name) for name in names}
    )


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_the_search_finds_a_corner_of_the_cube_in_any_number_of_dimensions(dimensions):
    search = _searcher(np.full(dimensions, 0.5), 400, 0)
    best = np.inf
    while not search.stop():
        points = search.ask()
        losses = [float(((point[:dimensions] - 1.0) ** 2).sum()) for point in points]
        search.tell(points, losses)
        best = min(best, *losses)
    assert best < 1e-4


def test_workers_find_what_one_process_finds(written):
    names, guess = ("policy_latency_s",), PlantParams(policy_latency_s=0.03)
    alone, together = (fitted(written, names, guess, workers, 6, 5)[1] for workers in (0, 2))
    assert together == alone
    assert alone.params.policy_latency_s == pytest.approx(0.015, abs=0.001)


def test_the_usual_errors_of_a_plant_are_its_unit(written):
    objective = _make(written, "mujoco", 10)
    guess = PlantParams(motor_strength_scale=0.7)
    # Angles and attitude weigh alike, and each horizon and motor; 1.4826 medians of normal errors
    # are their standard deviation.
    usual = 1.4826 * np.median(np.abs(objective.errors(guess, guess)), axis=0)
    assert (usual**2).sum() == pytest.approx(1.0)
    assert (usual[:24] ** 2).sum() == pytest.approx(0.5)  # eight motors, three horizons
    first = robust_mean(objective.errors(guess, guess))
    assert robust_mean(objective.errors(PlantParams(), guess)) < 0.25 * first
    # In units of its own the best plant has errors of one again.
    assert 0.2 < robust_mean(objective.errors(PlantParams(), PlantParams())) < 10.0
    objective.plant.close()


def test_steps_follow_the_principal_axes_and_are_long_where_the_errors_hardly_change():
    # Along (1, 1) the curvature is 3600, along (1, -1) it is 1.
    along, across = np.array((1.0, 1.0)) / 2**0.5, np.array((1.0, -1.0)) / 2**0.5
    hessian = 3600.0 * np.outer(along, along) + np.outer(across, across)
    steps = _steps_along(hessian, 16.0)
    lengths = np.linalg.norm(steps, axis=0)
    assert lengths == pytest.approx([0.15, 0.3 * 4.0 / 60.0])  # the first would be 1.2
    assert abs(steps[:, 0] @ across) == pytest.approx(0.15)
    assert abs(steps[:, 1] @ along) == pytest.approx(0.02)
