"""Schedules of beta and of the learning rate, as pytrees that may be traced in every parameter.

A schedule is a function of the step count (0 at the first step) and a `jax.tree_util.Partial`, so
its numbers are leaves: `vmap` sweeps them and `grad` differentiates with respect to them, lengths
included. Fractions of a length are clipped, so a schedule is finite at its end and after it. A
schedule of length 0 is at its end from the start.
"""

from jaxmom.schedules.basic import (
    constant,
    cosine,
    demon,
    exponential,
    half_life,
    linear,
    polynomial,
    sutskever,
)
from jaxmom.schedules.phases import join, one_cycle, trapezoid, warmup, warmup_cosine

__all__ = [
    "constant",
    "cosine",
    "demon",
    "exponential",
    "half_life",
    "join",
    "linear",
    "one_cycle",
    "polynomial",
    "sutskever",
    "trapezoid",
    "warmup",
    "warmup_cosine",
]
