"""A small sweep whose every number is known, without running anything."""

import numpy as np
import xarray

DIMS = ("beta", "learning_rate", "method", "seed")


def make_runs() -> xarray.Dataset:
    """5 betas, 4 learning rates, 2 methods, 3 seeds, 3 records; some diverged, failed, missing."""
    rng = np.random.default_rng(0)
    coords = {
        "beta": 1 - np.geomspace(1, 1e-2, 5),
        "learning_rate": np.geomspace(1e-3, 1, 4),
        "method": ["heavy ball", "nesterov"],
        "seed": np.arange(3),
    }
    shape = tuple(len(values) for values in coords.values())
    status = rng.choice([0, 1, 1, 1, 1, 2, 3], size=shape).astype(np.int8)
    status[1, 1] = 1  # some cells in which all seeds ended well
    last = np.where(status == 1, rng.lognormal(size=shape), np.nan)
    last = np.where(status == 2, np.inf, last)
    values = np.stack([np.full(shape, 9.0), 2 * np.nan_to_num(last, posinf=50), last], axis=-1)
    diverged_at = np.where(status == 2, 15, -1).astype(np.int32)
    return xarray.Dataset(
        {"value": ((*DIMS, "step"), values), "norms": ((*DIMS, "layer"), np.ones((*shape, 2)))},
        {
            **coords,
            "step": [0, 10, 20],
            "status": (DIMS, status),
            "diverged_at": (DIMS, diverged_at),
        },
        {"width": 8, "options": '{"block": 2}'},
    )
