"""What a row of the table of methods says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jaxmom as jm

Points = Iterator[tuple[np.ndarray, np.ndarray]]  # (where the gradient is taken, eval_params)


@dataclass(frozen=True)
class Case:
    make: Callable[..., jm.Optimizer]
    hyperparameters: dict[str, Any]  # floats; every one of them is a leaf
    paper: Callable[..., Points]
    static: dict[str, Any] = field(default_factory=dict)
    positive: tuple[str, ...] = ()  # hyperparameters that may not be zero
    with_zero: dict[str, dict[str, float]] = field(default_factory=dict)  # others to set then
    linear: bool = True
    is_complex: bool = False  # its coefficients, and the buffers of real params
