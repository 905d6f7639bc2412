"""Exact arithmetic on matrices of floats: definiteness and minimal systems without rounding."""

import math
from fractions import Fraction
from typing import Any

import numpy as np


def to_fractions(values: Any) -> np.ndarray:
    """Convert floats of any shape to an object array of equal fractions.

    Raises:
      ValueError: They are not all finite.
    """
    values = np.asarray(values, float)
    if not np.all(np.isfinite(values)):
        raise ValueError(
            "the numbers of this optimizer are not all finite; look at the hyperparameters."
        )
    exact = np.array([Fraction(float(x)) for x in values.ravel()], object)
    return exact.reshape(values.shape)


def is_positive_definite(matrix: np.ndarray) -> bool:
    """Whether a symmetric matrix is positive definite, by its leading minors.

    Its entries are fractions, or `Dyadic`.

    Source: Bareiss 1968 (Math. Comp. 22), elimination in integers, which stay determinants.
    """
    denominator = math.lcm(*(entry.denominator for entry in matrix.ravel()))
    rows = [[int(entry * denominator) for entry in row] for row in matrix]
    previous = 1
    for k, pivots in enumerate(rows):
        if pivots[k] <= 0:
            return False
        for row in rows[k + 1 :]:
            factor = row[k]
            row[k:] = [
                (pivots[k] * x - factor * y) // previous
                for x, y in zip(row[k:], pivots[k:], strict=True)
            ]
        previous = pivots[k]
    return True


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve ``matrix x = right`` by elimination in integers, which stay determinants."""
    n = len(matrix)
    table = np.array([_clear(row) for row in np.column_stack([matrix, right])], object)
    previous = 1
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(table[k:, k])))
        table[[k, pivot]] = table[[pivot, k]]
        others = np.arange(n) != k
        crossed = table[k, k] * table[others] - np.outer(table[others, k], table[k])
        table[others], previous = crossed // previous, table[k, k]
    return np.array([[Fraction(x, row[i]) for x in row[n:]] for i, row in enumerate(table)], object)


def _clear(row: np.ndarray) -> list[int]:
    """Multiply fractions by their common denominator."""
    common = math.lcm(*(entry.denominator for entry in row))
    return [int(entry * common) for entry in row]


def rest_state(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray | None:
    """Return the state of params at 1 that stays without gradients, or None if there is none.

    A gradient is zero if a change of the entries of A by 2^-48 of them could be its cause.
    """
    n = len(b)
    unit = np.eye(n, dtype=int)
    still = a - unit
    bordered = np.vstack([np.column_stack([still, b]), np.append(c, 0)])
    target = np.append(np.zeros(n, int), 1)
    try:
        right, left = (_solve(matrix, target)[:, 0] for matrix in (bordered, bordered.T))
    except ZeroDivisionError:  # a steady gradient has no steady step
        return None
    noise = np.abs(left[:n]) @ (np.abs(a) + unit) @ np.abs(right[:n]) / 2**48
    return right[:n] if abs(right[n]) <= noise else None


def change_basis(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the system of the states ``factor x``, exactly."""
    back = _solve(factor, to_fractions(np.eye(len(b))))
    return factor @ a @ back, factor @ b, c @ back


def drop_hidden(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the minimal system of matrices of fractions, in some of their own coordinates."""
    basis, kept = _echelon(_krylov(a, b))
    a, b, c = (basis @ a.T).T[kept], b[kept], basis @ c
    basis, kept = _echelon(_krylov(a.T, c))
    return (basis @ a)[:, kept], basis @ b, c[kept]


def _krylov(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    vectors = [b]
    for _ in range(len(b) - 1):
        vectors.append(a @ vectors[-1])
    return vectors


def _echelon(vectors: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """A basis [r, n] of the span of vectors, and r coordinates in which it is the identity."""
    rows: list[np.ndarray] = []
    pivots: list[int] = []
    for vector in vectors:
        for row, pivot in zip(rows, pivots, strict=True):
            vector = vector - vector[pivot] * row
        if not vector.any():
            break  # the span is invariant
        pivot = int(np.argmax(np.abs(vector)))
        vector = vector / vector[pivot]
        rows = [row - row[pivot] * vector for row in rows] + [vector]
        pivots.append(pivot)
    order = np.argsort(pivots)
    basis = np.array([rows[i] for i in order], object).reshape(len(rows), len(vectors[0]))
    return basis, sorted(pivots)
