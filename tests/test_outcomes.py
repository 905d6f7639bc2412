"""Quantiles over seeds in which infinities are values."""

import numpy as np

from jaxmom._outcomes import quantile


def test_a_quantile_is_numpys_until_it_leans_on_an_infinity():
    rng = np.random.default_rng(0)
    finite = rng.normal(size=(6, 40))
    runs = finite.copy()
    runs[4:, 20:] = np.inf
    for share in (0.0, 0.25, 0.5, 0.6, 0.7, 1.0):
        ours = quantile(runs, share)
        np.testing.assert_allclose(ours[:20], np.quantile(finite[:, :20], share, axis=0))
        below = np.sort(finite[:4, 20:], axis=0)
        place = share * 5
        if place <= 3:
            low, high = below[int(place)], below[min(int(np.ceil(place)), 3)]
            np.testing.assert_allclose(ours[20:], low + (place - int(place)) * (high - low))
        else:
            assert np.isinf(ours[20:]).all()


def test_a_quantile_leaves_out_what_is_not_there():
    runs = np.array([[np.nan, 1.0, np.nan], [np.nan, np.nan, 4.0], [np.nan, 3.0, np.inf]])
    np.testing.assert_array_equal(quantile(runs, 0.5), [np.nan, 2.0, np.inf])
    np.testing.assert_array_equal(quantile(runs, 0.0), [np.nan, 1.0, 4.0])
