import numpy as np

from training.learner.normalization import RunningMoments, Statistics

RNG = np.random.default_rng(0)
SAMPLES = (RNG.standard_normal((1000, 3)) * [1.0, 10.0, 1e-3] + [5.0, -100.0, 0.0]).astype("f4")


def merge(parts: list[np.ndarray]) -> RunningMoments:
    moments = RunningMoments.empty(3)
    for part in parts:
        moments = moments.merged(part)
    return moments


def test_equals_numpy_over_all_samples() -> None:
    moments = merge(np.array_split(SAMPLES, [1, 17, 400]))
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, SAMPLES.mean(axis=0, dtype="f8"), rtol=1e-12)
    variance = moments.squares / moments.count
    np.testing.assert_allclose(variance, SAMPLES.var(axis=0, dtype="f8"), rtol=1e-12)


def test_order_of_batches_matters_to_rounding_only() -> None:
    parts = np.array_split(SAMPLES, 7)
    forward, backward = merge(parts), merge(parts[::-1])
    np.testing.assert_allclose(forward.mean, backward.mean, rtol=1e-12)
    np.testing.assert_allclose(forward.squares, backward.squares, rtol=1e-12)


def test_what_did_not_vary_is_scaled_by_its_floor() -> None:
    """A still term of 0.3 that reads 0.301 on the robot is 0.02 deviations off, not 10."""
    floor = np.array([0.05, 0.05, 1e-9])
    rows = np.array([[0.3, 0.0, 0.0], [0.3, 2.0, 2e-4]], np.float32)
    moments = RunningMoments.empty(3, floor).merged(rows)
    np.testing.assert_array_equal(moments.std[0], 0.05)
    bare = RunningMoments.empty(3).merged(rows)
    np.testing.assert_array_equal(moments.std[1:], bare.std[1:])  # above the floor: bit for bit
    scaled = moments.normaliser(5.0)(np.array([0.301, 1.0, 1e-4], np.float32))
    np.testing.assert_allclose(scaled, [0.02, 0.0, 0.0], atol=1e-5)
    assert bare.normaliser(5.0)(np.array([0.301, 1.0, 1e-4], np.float32))[0] == 5.0


def test_a_checkpoint_carries_the_floor_and_one_of_an_older_version_has_none() -> None:
    moments = RunningMoments.empty(2, np.array([0.1, 0.2])).merged(np.zeros((5, 2)))
    state = moments.state()
    np.testing.assert_array_equal(RunningMoments.from_state(state).std, [0.1, 0.2])
    del state["floor"]
    np.testing.assert_array_equal(RunningMoments.from_state(state).std, [1e-4, 1e-4])


def test_statistics_keep_the_floor_of_their_own_run() -> None:
    rows = np.zeros((5, 2), np.float32)
    old, new = Statistics(2, 0, None, None), Statistics(2, 0, None, np.array([0.1, 0.2]))
    old.learn_observations(rows)
    new.load_state(old.state())
    np.testing.assert_array_equal(new.observations.std, [0.1, 0.2])


def test_identity_before_any_sample_and_no_blow_up_of_constants() -> None:
    np.testing.assert_array_equal(RunningMoments.empty(2).std, [1.0, 1.0])
    constant = RunningMoments.empty(1).merged(np.full((10, 1), 3.0))
    assert constant.std[0] == 1e-4
