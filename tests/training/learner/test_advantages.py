from __future__ import annotations

import numpy as np

from training.learner.advantages import discounted_sums, gae

REWARDS = np.array([1.0, 2.0, 3.0])
VALUES = np.array([0.5, 1.0, 1.5])


def test_termination_by_hand() -> None:
    # discount 0.5, lambda 0.5; nothing follows the last step:
    # d2 = 3 + 0 - 1.5 = 1.5, d1 = 2 + 0.75 - 1 = 1.75, d0 = 1 + 0.5 - 0.5 = 1
    # A2 = 1.5, A1 = 1.75 + 0.25 * 1.5 = 2.125, A0 = 1 + 0.25 * 2.125 = 1.53125
    got = gae(REWARDS, VALUES, final_value=0.0, discount=0.5, gae_lambda=0.5)
    np.testing.assert_array_equal(got, [1.53125, 2.125, 1.5])


def test_time_out_by_hand() -> None:
    # The final observation is worth 2, so d2 = 3 + 0.5 * 2 - 1.5 = 2.5; the rest follows.
    # A1 = 1.75 + 0.25 * 2.5 = 2.375, A0 = 1 + 0.25 * 2.375 = 1.59375
    got = gae(REWARDS, VALUES, final_value=2.0, discount=0.5, gae_lambda=0.5)
    np.testing.assert_array_equal(got, [1.59375, 2.375, 2.5])


def test_lambda_one_is_return_minus_value() -> None:
    got = gae(REWARDS, VALUES, final_value=4.0, discount=0.9, gae_lambda=1.0)
    returns = discounted_sums(REWARDS, 0.9, beyond=4.0)
    np.testing.assert_allclose(got + VALUES, returns, rtol=1e-15)
    np.testing.assert_allclose(returns[0], 1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 4, rtol=1e-15)


def test_lambda_zero_is_one_step() -> None:
    got = gae(REWARDS, VALUES, final_value=4.0, discount=0.9, gae_lambda=0.0)
    np.testing.assert_allclose(got, [1 + 0.9 - 0.5, 2 + 1.35 - 1.0, 3 + 3.6 - 1.5], rtol=1e-15)
