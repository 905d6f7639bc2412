"""Exact definiteness and minimal systems, against integers, NumPy and random systems."""

from fractions import Fraction

import numpy as np
import pytest

from jaxmom.theory import _dyadic, _rational


def exact(values):
    return _rational.to_fractions(np.asarray(values, float))


def test_definiteness_at_the_edge_of_floats():
    """[[1, 1], [1, 1 + d]] has the determinant d: positive for the smallest float above 1."""
    for d, expected in ((2.0**-52, True), (0.0, False), (-(2.0**-53), False)):
        assert _rational.is_positive_definite(exact([[1.0, 1.0], [1.0, 1.0 + d]])) is expected
    hilbert = np.array([[Fraction(1, i + j + 1) for i in range(12)] for j in range(12)], object)
    assert _rational.is_positive_definite(hilbert)  # its least eigenvalue is 2.6e-17
    hilbert[11, 11] -= Fraction(1, 10**9)
    assert not _rational.is_positive_definite(hilbert)


@pytest.mark.parametrize("seed", range(5))
def test_definiteness_is_that_of_the_eigenvalues_in_any_units(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    square = rng.standard_normal((n, n))
    for shift in (0.5, -0.5):
        matrix = square @ square.T + shift * np.eye(n) * (1 + np.abs(square).sum() * (shift < 0))
        units = 2.0 ** rng.integers(-400, 400, n)
        scaled = exact(matrix) * np.outer(exact(units), exact(units))
        assert _rational.is_positive_definite(scaled) == (np.linalg.eigvalsh(matrix)[0] > 0)


def test_what_remains_definite_does_so_at_every_corner():
    rng = np.random.default_rng(0)
    square = rng.standard_normal((4, 4))
    matrix, units = square @ square.T, np.diag(2.0 ** np.array([-20, 0, 9, 30]))
    matrix = units @ matrix @ units
    for size in (1e-6, 0.5):
        error = size * np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
        remains = _dyadic.remains_positive_definite(*map(_dyadic.to_dyadics, (matrix, error)))
        for _ in range(200 * remains):
            signs = np.triu(rng.choice([-1.0, 1.0], (4, 4)))
            moved = matrix + (signs + np.triu(signs, 1).T) * error
            assert (
                np.linalg.eigvalsh(np.linalg.solve(units, np.linalg.solve(units, moved).T))[0] > 0
            )
        assert remains == (size == 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_hidden_states_are_dropped_exactly(seed):
    """Three states in a random integer basis of five, of which two are hidden."""
    rng = np.random.default_rng(seed)
    small = rng.integers(-4, 5, (3, 3)), rng.integers(1, 5, 3), rng.integers(1, 5, 3)
    a = np.zeros((5, 5), int)
    a[:3, :3], a[3, 3], a[4, 4] = small[0], 2, 3
    a[3, :3], a[:3, 4] = rng.integers(-3, 4, 3), rng.integers(-3, 4, 3)  # unread, unreached
    b, c = np.append(small[1], [1, 0]), np.append(small[2], [0, 1])
    mix = np.eye(5, dtype=int) + np.triu(rng.integers(-2, 3, (5, 5)), 1)
    back = np.rint(np.linalg.inv(mix)).astype(int)
    found = _rational.drop_hidden(exact(mix @ a @ back), exact(mix @ b), exact(c @ back))
    least = _rational.drop_hidden(*(exact(x) for x in small))
    assert len(found[1]) == len(least[1])
    for k in range(10):
        expected = small[2] @ np.linalg.matrix_power(small[0].astype(object), k) @ small[1]
        assert found[2] @ np.linalg.matrix_power(found[0], k) @ found[1] == expected


def test_the_state_at_rest():
    system = exact([[1.0, -0.5], [0.0, 0.5]]), exact([-1.0, 1.0]), exact([1.0, 0.0])
    np.testing.assert_array_equal(_rational.rest_state(*system), [1, 0])
    pulled = exact([[1.0, -0.5], [1e-12, 0.5]]), *system[1:]
    assert _rational.rest_state(*pulled) is None
    rounded = exact([[1.0, -0.5], [0.0, 0.5]]) * (1 + Fraction(1, 2**60)), *system[1:]
    assert _rational.rest_state(*rounded) is not None


def test_dyadic_numbers_are_those_of_fractions():
    """Sums, products, comparisons and floats, at sizes at which floats overflow when multiplied."""
    rng = np.random.default_rng(0)
    floats = np.ldexp(rng.standard_normal((3, 3)), rng.integers(-900, 900, (3, 3)))
    floats[0, 0] = 0.0
    ours, theirs = _dyadic.to_dyadics(floats), exact(floats)
    pairs = [(ours @ ours.T, theirs @ theirs.T), (1 - 2 * ours, 1 - 2 * theirs),
             (abs(ours) - ours, abs(theirs) - theirs)]  # fmt: skip
    for mine, known in pairs:
        found = [Fraction(x.numerator, x.denominator) for x in mine.ravel()]
        assert found == known.ravel().tolist()
        np.testing.assert_array_equal(mine > mine[1, 1], known > known[1, 1])
        np.testing.assert_array_equal(mine <= 1, known <= 1)
        assert (mine == mine[1, 1]).sum() == (known == known[1, 1]).sum()
    np.testing.assert_array_equal(ours.astype(float), floats)
    third = _dyadic.to_dyadics(rng.standard_normal(50) / 3)
    sums = third[:25] * third[25:] + third[:25]  # 106 bits, rounded once
    assert [float(x) for x in sums] == [float(Fraction(x.numerator, x.denominator)) for x in sums]
    for value in floats.ravel()[1:]:
        k = _dyadic.magnitude(_dyadic.to_dyadic(value))
        assert Fraction(2) ** (k - 1) <= abs(Fraction(value)) < Fraction(2) ** k
    with pytest.raises((OverflowError, ValueError)):
        _dyadic.to_dyadics([np.inf])
