"""Every factory of optax and optax.contrib, with arguments, params and extra arguments."""

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

PARAMS = {
    "w": jnp.array([[1.0, -2.0], [0.3, 0.7]], jnp.float32),
    "b": jnp.array([0.2, -0.4], jnp.float32),
}
MATRICES = {"w": True, "b": False}
# Those whose signatures do not say that they return a transformation.
UNANNOTATED = {
    "dog",
    "dowg",
    "hutchinson_estimator_diag_hessian",
    "monitor",
    "scale_by_factored_rms",
}
# Those that return a factory.
NO_FACTORIES = {"inject_hyperparams", "inject_stateful_hyperparams"}


def is_matrix(params):
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def double(updates, params):
    return jax.tree.map(lambda leaf: 2 * leaf, updates)


def double_leaf(update, param):
    return 2 * update


def every_second(step, updates=None, params=None, **extra):
    return step % 2 == 0


def heavy_ball():
    return optax.sgd(0.1, 0.9)


# The value of each argument that has no default, by its name.
REQUIRED = {
    "adv_optimizer": lambda: optax.chain(optax.contrib.normalize(), optax.sgd(0.05)),
    "base_optimizer": heavy_ball,
    "clipping": lambda: 0.5,
    "decay": lambda: 0.9,
    "eta": lambda: 0.01,
    "f": lambda: double,
    "fast_optimizer": heavy_ball,
    "freeze_mask": lambda: MATRICES,
    "gamma": lambda: 0.55,
    "inner": heavy_ball,
    "l2_norm_clip": lambda: 1.5,
    "learning_rate": lambda: 0.1,
    "mask": lambda: MATRICES,
    "max_backtracking_steps": lambda: 5,
    "max_consecutive_errors": lambda: 2,
    "max_delta": lambda: 0.5,
    "max_linesearch_steps": lambda: 5,
    "max_norm": lambda: 0.5,
    "measure": lambda: optax.tree.norm,
    "measure_name": lambda: "norm",
    "measures": lambda: {"norm": optax.tree.norm},
    "noise_multiplier": lambda: 0.1,
    "optimizer": heavy_ball,
    "param_labels": lambda: {"w": "x", "b": "y"},
    "seed": lambda: 3,
    "should_transform_fn": lambda: every_second,
    "slow_step_size": lambda: 0.5,
    "step_size": lambda: 0.5,
    "step_size_fn": lambda: optax.linear_schedule(0.1, 0.0, 10),
    "sync_period": lambda: 2,
    "threshold": lambda: 0.5,
    "transforms": lambda: {"x": heavy_ball(), "y": optax.sgd(0.1)},
    "tx": heavy_ball,
}
# Other arguments, where the defaults are too special for two small arrays.
CHANGED: dict[str, dict[str, Any]] = {
    "add_noise": {"key": 0},
    "adafactor": {"learning_rate": 0.1, "min_dim_size_to_factor": 2},
    "contrib.differentially_private_aggregate": {"key": 0},
    "contrib.galore": {"rank": 1},
    "contrib.scale_by_galore": {"rank": 1},
    "contrib.scale_by_muon": {
        "weight_dimension_numbers": {"w": optax.contrib.MuonDimensionNumbers(0, 1)}
    },
    "lbfgs": {"learning_rate": 0.1},
    "noisy_sgd": {"key": 0},
    "rmsprop": {"momentum": 0.3},
    "scale_by_factored_rms": {"min_dim_size_to_factor": 2},
    "scale_by_learning_rate": {"learning_rate": 0.1},
    "adadelta": {"learning_rate": 0.1},
    "sgd": {"momentum": 0.9},
    "stateless_with_tree_map": {"f": double_leaf},
}
POSITIONAL = {
    "chain": lambda: (optax.clip(1.0), heavy_ball()),
    "named_chain": lambda: (("clip", optax.clip(1.0)), ("descent", heavy_ball())),
}
BATCHED = {"contrib.dpsgd", "contrib.differentially_private_aggregate"}


@dataclass(frozen=True)
class Factory:
    name: str
    function: Any

    @property
    def parameters(self):
        return inspect.signature(self.function).parameters

    @functools.cached_property
    def arguments(self):
        """Positional and keyword arguments with which the factory can be called."""
        missing = {
            n: REQUIRED[n]()
            for n, p in self.parameters.items()
            if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
        }
        return POSITIONAL.get(self.name, tuple)(), missing | CHANGED.get(self.name, {})

    @property
    def params(self):
        if self.name == "lookahead":
            return optax.LookaheadParams.init_synced(PARAMS)
        return {"w": PARAMS["w"]} if self.name == "contrib.scale_by_muon" else PARAMS

    @property
    def updates(self):
        params = self.params.fast if self.name == "lookahead" else self.params
        gradients = jax.tree.map(lambda p: jnp.cos(3 * p), params)
        if self.name in BATCHED:
            return jax.tree.map(lambda g: jnp.stack([g, 0.5 * g]), gradients)
        return gradients

    @property
    def extra(self):
        return {name: EXTRA[name] for name in NEEDS.get(self.name, ())}


def quadratic(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)) / 2


EXTRA = {"value": 3.0, "grad": PARAMS, "value_fn": quadratic, "obj_fn": quadratic}
# The keyword arguments without which an update fails.
NEEDS = {
    "contrib.momo": ("value",),
    "contrib.momo_adam": ("value",),
    "contrib.reduce_on_plateau": ("value",),
    "contrib.sophia": ("obj_fn",),
    "contrib.hutchinson_estimator_diag_hessian": ("obj_fn",),
    "lbfgs": ("value", "grad", "value_fn"),
    "polyak_sgd": ("value",),
    "scale_by_backtracking_linesearch": ("value", "grad", "value_fn"),
    "scale_by_polyak": ("value",),
    "scale_by_zoom_linesearch": ("value", "grad", "value_fn"),
}


def _factories():
    for prefix, module in (("", optax), ("contrib.", optax.contrib)):
        for name in sorted(dir(module)):
            function = getattr(module, name)
            if name.startswith("_") or inspect.isclass(function) or name in NO_FACTORIES:
                continue
            try:
                returned = str(inspect.signature(function).return_annotation)
            except (TypeError, ValueError):
                continue
            if "GradientTransformation" in returned or name in UNANNOTATED:
                yield Factory(prefix + name, function)


FACTORIES = {factory.name: factory for factory in _factories()}
