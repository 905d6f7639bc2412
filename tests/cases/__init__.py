"""The table of methods: how to make each, its hyperparameters, and its paper's own loop.

A new method is one row in the module of its family; `methods/test_laws.py` then asks all its laws
of it. A recurrence is written as its source writes it (two steps, two sequences, velocities ...),
never in the form in which jaxmom stores it. It gets ``gradient(point, t)`` and yields the points at
which it asks for gradients, and, where they differ, the points that its theorem speaks of.
"""

from cases import (
    accelerated,
    adaptive,
    aggregated,
    averaging,
    basic,
    games,
    heads,
    optimized,
    scheduled,
    sign,
    stochastic,
)
from cases.case import Case, Points

_FAMILIES = [
    *[basic, accelerated, optimized, averaging, stochastic],
    *[aggregated, scheduled, sign, heads, games, adaptive],
]

METHODS: dict[str, Case] = {
    name: case for family in _FAMILIES for name, case in family.METHODS.items()
}

__all__ = ["METHODS", "Case", "Points"]
