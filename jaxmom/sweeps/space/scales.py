"""Scales: how a number between 0 and 1 becomes a hyperparameter."""

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
    """

    kind: str
    low: float
    high: float

    def __post_init__(self):
        lowest = {"uniform": -np.inf, "memory": 1.0}.get(self.kind, 0.0)
        admitted = self.low >= lowest if self.kind == "memory" else self.low > lowest
        if not (admitted and self.low < self.high < np.inf):
            raise ValueError(
                f"{self.kind}({self.low}, {self.high}) is no interval; give finite numbers "
                f"low < high with low {'>=' if self.kind == 'memory' else '>'} {lowest}."
            )

    def at(self, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at some fractions of the way from low to high; float64, as are fractions."""
        if self.kind == "uniform":
            return self.low + fraction * (self.high - self.low)
        value = self.low * (self.high / self.low) ** fraction
        return _FROM_LOGARITHM[self.kind](value)

    def points(self, count: int) -> NDArray[np.float64]:
        """`count` even values from one end to the other, for an axis of `grid`.

        Example:
          >>> import jaxmom as jm
          >>> print(jm.memory(1, 100).points(3))
          [0.   0.9  0.99]
        """
        return self.at(np.linspace(0.0, 1.0, count))


_FROM_LOGARITHM: dict[str, Callable[[Any], Any]] = {
    "log_uniform": lambda value: value,
    "memory": lambda memory: 1 - 1 / memory,
    "half_life": lambda steps: 0.5 ** (1 / steps),
}


def uniform(low: float, high: float) -> Scale:
    """Even in the value itself.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.uniform(0, 1).points(3))
      [0.  0.5 1. ]
    """
    return Scale("uniform", float(low), float(high))


def log_uniform(low: float, high: float) -> Scale:
    """Even in the logarithm: the scale of learning rates.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.log_uniform(0.01, 1).points(3))
      [0.01 0.1  1.  ]
    """
    return Scale("log_uniform", float(low), float(high))


def memory(low: float, high: float) -> Scale:
    """A beta whose memory ``1 / (1 - beta)``, in steps, is even in its logarithm.

    Values near 1 make all the difference there: 0.99 and 0.999 are as far apart as 0 and 0.9.

    Args:
      low: The shortest memory, 1 (beta = 0) at least.
      high: The longest.

    Example:
      >>> import jaxmom as jm
      >>> jm.memory(1, 1000).points(4).tolist()
      [0.0, 0.9, 0.99, 0.999]
    """
    return Scale("memory", float(low), float(high))


def half_life(low: float, high: float) -> Scale:
    """A beta whose half-life, the h with ``beta^h = 1/2``, is even in its logarithm.

    Args:
      low: The shortest half-life in steps, positive; beta = 0.5 has half-life 1.
      high: The longest.

    Example:
      >>> import jaxmom as jm
      >>> print(jm.half_life(1, 4).points(3).round(4))
      [0.5    0.7071 0.8409]
    """
    return Scale("half_life", float(low), float(high))
