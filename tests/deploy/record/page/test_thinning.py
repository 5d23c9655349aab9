import numpy as np

from deploy.record.page.thinning import thinned, ticks_per_pair

NAN = float("nan")


def test_what_is_short_stays_as_it_is():
    t_s, values = np.arange(4.0), np.arange(8.0).reshape(4, 2)
    for kept, was in zip(thinned(t_s, values, 4), (t_s, values), strict=True):
        np.testing.assert_array_equal(kept, was)
    assert ticks_per_pair(4, 4) == 1


def test_least_and_greatest_of_each_group_by_hand():
    """Eight rows to four: two groups of four, each with its extremes as they came."""
    values = np.array([(1, 5), (9, 6), (0, 4), (2, 7), (3, 0), (3, 0), (8, 0), (1, 0)], float)
    t_s, short = thinned(np.arange(8.0), values, 4)
    np.testing.assert_array_equal(t_s, [0, 2, 4, 6])
    np.testing.assert_array_equal(short[:, 0], [9, 0, 8, 1])
    np.testing.assert_array_equal(short[:, 1], [4, 7, 0, 0])


def test_a_group_that_is_not_full_counts_what_it_has():
    """Five rows to two: one group of five, and no row that was not there."""
    t_s, short = thinned(np.arange(5.0), np.array([[3.0], [1], [2], [7], [4]]), 2)
    np.testing.assert_array_equal(t_s, [0, 2])
    np.testing.assert_array_equal(short[:, 0], [1, 7])
    t_s, short = thinned(np.arange(7.0), np.array([[3.0], [1], [2], [7], [4], [5], [6]]), 4)
    np.testing.assert_array_equal(t_s, [0, 2, 4, 6])
    np.testing.assert_array_equal(short[:, 0], [1, 7, 4, 6])


def test_what_is_unknown_hides_nothing():
    values = np.array([[NAN], [5.0], [NAN], [2.0], [NAN], [NAN], [NAN], [NAN]])
    _, short = thinned(np.arange(8.0), values, 4)
    np.testing.assert_array_equal(short[:, 0], [5, 2, NAN, NAN])


def test_no_peak_of_an_hour_is_lost():
    values = np.zeros((600_000, 2))
    values[123_456, 0], values[500_001, 1] = 1.0, -1.0
    t_s, short = thinned(np.arange(600_000) * 0.006, values, 4000)
    assert len(t_s) <= 4000
    assert short[:, 0].max() == 1.0
    assert short[:, 1].min() == -1.0
    # At its own time, to within the 300 ticks of a group.
    assert abs(t_s[short[:, 0].argmax()] - 123_456 * 0.006) < 300 * 0.006
