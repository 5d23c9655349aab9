import numpy as np

from training.learner.normalization import RunningMoments

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


def test_identity_before_any_sample_and_no_blow_up_of_constants() -> None:
    np.testing.assert_array_equal(RunningMoments.empty(2).std, [1.0, 1.0])
    constant = RunningMoments.empty(1).merged(np.full((10, 1), 3.0))
    assert constant.std[0] == 1e-4
