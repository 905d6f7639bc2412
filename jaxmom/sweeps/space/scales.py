"""Scales: maps from a number between 0 and 1 to a hyperparameter."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Scale:
    """An interval of a hyperparameter, and what "evenly" means in it.

    `sample` draws from it, and `points` are the even values for an axis of a grid.

    Attributes:
      kind: "uniform", "log_uniform", "memory" or "half_life".
      low: The value (or memory, or half-life) at 0.
      high: The value at 1.

    Raises:
      ValueError: The ends are not those of an interval of this kind.
    """

    kind: str
    low: float
    high: float

    def __post_init__(self):
        lowest = {"uniform": -np.inf, "memory": 1.0}.get(self.kind, 0.0)
        is_admitted = self.low >= lowest if self.kind == "memory" else self.low > lowest
        if not (is_admitted and self.low < self.high < np.inf):
            raise ValueError(
                f"{self.kind}({self.low}, {self.high}) is not an interval; give finite numbers "
                f"low < high with low {'>=' if self.kind == 'memory' else '>'} {lowest}."
            )

    def at(self, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values at some fractions of the way from low to high, in float64."""
        if self.kind == "uniform":
            value = self.low + fraction * (self.high - self.low)
        else:
            value = self.low * (self.high / self.low) ** fraction
        # Rounding may miss the upper end, or exceed it just before.
        return self.to_hyperparameter(
            np.where(fraction == 1, self.high, np.minimum(value, self.high))
        )

    def to_hyperparameter(self, value: Any) -> Any:
        """Return the hyperparameter of a value between low and high, such as beta of a memory."""
        return _TO_HYPERPARAMETER[self.kind](value)

    def points(self, count: int) -> NDArray[np.float64]:
        """Return `count` even values from one end to the other, for an axis of `grid`.

        Example:
          >>> import jaxmom as jm
          >>> print(jm.memory(1, 100).points(3))
          [0.   0.9  0.99]
        """
        return self.at(np.linspace(0.0, 1.0, count))


_TO_HYPERPARAMETER: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda value: value,
    "log_uniform": lambda value: value,
    "memory": lambda memory: 1 - 1 / memory,
    "half_life": lambda steps: 0.5 ** (1 / steps),
}


def uniform(low: float, high: float) -> Scale:
    """Return a scale that is even in the value itself.

    Args:
      low: The smallest value.
      high: The largest value.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.uniform(0, 1).points(3))
      [0.  0.5 1. ]
    """
    return Scale("uniform", float(low), float(high))


def log_uniform(low: float, high: float) -> Scale:
    """Return a scale that is even in the logarithm, as learning rates are tried.

    Args:
      low: The smallest value, positive.
      high: The largest value.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.log_uniform(0.01, 1).points(3))
      [0.01 0.1  1.  ]
    """
    return Scale("log_uniform", float(low), float(high))


def memory(low: float, high: float) -> Scale:
    """Return a scale of beta that is even in the logarithm of its memory ``1 / (1 - beta)``.

    Values near 1 make all the difference there: 0.99 and 0.999 are as far apart as 0 and 0.9.

    Args:
      low: The shortest memory in steps, at least 1 (beta = 0).
      high: The longest.

    Example:
      >>> import jaxmom as jm
      >>> jm.memory(1, 1000).points(4).tolist()
      [0.0, 0.9, 0.99, 0.999]
    """
    return Scale("memory", float(low), float(high))


def half_life(low: float, high: float) -> Scale:
    """Return a scale of beta that is even in the logarithm of its half-life h, ``beta^h = 1/2``.

    Args:
      low: The shortest half-life in steps, positive; beta = 0.5 has half-life 1.
      high: The longest.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.half_life(1, 4).points(3).round(4))
      [0.5    0.7071 0.8409]
    """
    return Scale("half_life", float(low), float(high))
