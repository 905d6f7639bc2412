"""Exact sums and products of floats: integers times powers of two, without common divisors."""

from typing import Any

import numpy as np

from jaxmom.theory._rational import is_positive_definite


class Dyadic:
    """The number ``mantissa * 2^exponent``, which every finite float is.

    Sums and products stay exact, and cost a tenth of those of `fractions.Fraction`, which divides
    by the greatest common divisor after each. Arrays of dtype object may mix them with integers.
    """

    __slots__ = ("exponent", "mantissa")

    def __init__(self, mantissa: int, exponent: int = 0):
        self.mantissa, self.exponent = mantissa, exponent

    @property
    def numerator(self) -> int:
        return self.mantissa << max(self.exponent, 0)

    @property
    def denominator(self) -> int:
        return 1 << max(-self.exponent, 0)

    def __float__(self) -> float:
        return self.numerator / self.denominator  # the nearest float

    def __int__(self) -> int:
        return self.numerator // self.denominator

    def __add__(self, other: "Dyadic | int") -> "Dyadic":
        if not isinstance(other, (Dyadic, int)):
            return NotImplemented  # an array, which adds its entries
        m, k = _parts(other)
        shift = self.exponent - k
        if shift >= 0:
            return Dyadic((self.mantissa << shift) + m, k)
        return Dyadic(self.mantissa + (m << -shift), self.exponent)

    def __mul__(self, other: "Dyadic | int") -> "Dyadic":
        if not isinstance(other, (Dyadic, int)):
            return NotImplemented
        m, k = _parts(other)
        return Dyadic(self.mantissa * m, self.exponent + k)

    def __neg__(self) -> "Dyadic":
        return Dyadic(-self.mantissa, self.exponent)

    def __abs__(self) -> "Dyadic":
        return Dyadic(abs(self.mantissa), self.exponent)

    def __sub__(self, other: "Dyadic | int") -> "Dyadic":
        return self + -other

    def __rsub__(self, other: int) -> "Dyadic":
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Dyadic, int)) and (self - other).mantissa == 0

    def __lt__(self, other: "Dyadic | int") -> bool:
        return (self - other).mantissa < 0

    def __le__(self, other: "Dyadic | int") -> bool:
        return (self - other).mantissa <= 0

    def __gt__(self, other: "Dyadic | int") -> bool:
        return (self - other).mantissa > 0

    def __ge__(self, other: "Dyadic | int") -> bool:
        return (self - other).mantissa >= 0

    __hash__ = None  # type: ignore[assignment]


def to_dyadic(value: float) -> Dyadic:
    """Convert a finite float without rounding."""
    numerator, denominator = float(value).as_integer_ratio()
    return Dyadic(numerator, 1 - denominator.bit_length())


def to_dyadics(values: Any) -> np.ndarray:
    """Convert floats of any shape to an object array of equal numbers."""
    values = np.asarray(values, float)
    exact = np.array([to_dyadic(x) for x in values.ravel()], object)
    return exact.reshape(values.shape)


def magnitude(value: Dyadic) -> int:
    """Return the k for which ``2^(k - 1) <= |value| < 2^k``."""
    return value.mantissa.bit_length() + value.exponent


def remains_positive_definite(matrix: np.ndarray, error: np.ndarray) -> bool:
    """Whether a symmetric matrix is positive definite after any change of its entries by an error.

    A change E moves ``x' M x`` by at most ``sum_ij E_ij (x_i^2 d_j / d_i + x_j^2 d_i / d_j) / 2``
    for any positive d, so that it suffices to take ``sum_j E_ij d_j / d_i`` off the diagonal. Here
    d is a power of two near ``1 / sqrt(M_ii)``.

    Args:
      matrix: [n, n] of `Dyadic`, symmetric.
      error: [n, n] of `Dyadic`, symmetric and not negative.
    """
    diagonal = np.diagonal(matrix)
    if not all(entry > 0 for entry in diagonal):
        return False
    units = [-magnitude(entry) // 2 for entry in diagonal]
    ratios = np.array([[Dyadic(1, d - own) for d in units] for own in units], object)
    return is_positive_definite(matrix - np.diag((error * ratios).sum(axis=1)))


def _parts(number: Dyadic | int) -> tuple[int, int]:
    return (number.mantissa, number.exponent) if isinstance(number, Dyadic) else (number, 0)
