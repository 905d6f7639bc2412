"""Methods with a second moment and with differences of gradients, as optimizers."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxmom import coefficients
from jaxmom._lift import lift
from jaxmom._per_part import make_per_part
from jaxmom.combine import chain, mix
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter
from jaxmom.methods._heads import (
    SQUARE,
    divide_by_root,
    safe_sqrt,
    scale_by_second_moment,
    stateless,
)
from jaxmom.methods._stages import descend, descend_proximally
from jaxmom.momentum import momentum_method
from jaxmom.transform import Hyperparameters, Optimizer, PyTree, ScalarOrSchedule, transformation


def adan(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.98,
    b2: ScalarOrSchedule = 0.92,
    b3: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Adan: Nesterov's momentum by differences of gradients, ``d = g - g_previous`` (0 at first).

    ``m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) d; n <- b3 n + (1-b3) (g + b2 d)^2`` and
    ``u = (m^ + b2 v^) / (sqrt(n^) + eps)``, with all three debiased. The letters are those of the
    authors' code, decays near 1; the paper's beta_i are 1 - b_i. `optax.adan` has 1 - b2 where b2
    belongs, in u and in n, and another weight decay.

    Args:
      learning_rate: The paper's eta.
      b1: The decay of m, in [0, 1).
      b2: The decay of v, in [0, 1). While a schedule of it changes, v is only nearly that
        average, as it is held as the distance of g from an average of g.
      b3: The decay of n, in [0, 1).
      eps: Not negative.
      weight_decay: lambda of proximal decay, ``y <- (y - eta u) / (1 + eta lambda)``, which needs
        params; or None.

    Source:
      Xie et al. 2022 (arXiv 2208.06677), algorithm 1, and their code, sail-sg/Adan.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.adan(1e-3, weight_decay=0.02)
    """
    direction = make_per_part(_ADAN, {"b1": b1, "b2": b2, "b3": b3, "eps": eps})
    return descend_proximally(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def _adan_direction(b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8) -> Optimizer:
    average = momentum_method(_named_b1, None, b1=b1)
    difference = momentum_method(_adan_difference, None, first_gradient=True, b2=b2)
    ahead = momentum_method(_adan_ahead, None, first_gradient=True, b2=b2)
    second_moment = chain(ahead, SQUARE, momentum_method(_named_b3, None, b3=b3))
    return divide_by_root(mix([average, difference], [1.0, 1.0]), second_moment, eps)


_ADAN = lift(_adan_direction)


def _named_b1(b1: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(as_hyperparameter("b1", b1, "[0, 1)"), debias=True)


def _named_b3(b3: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(as_hyperparameter("b3", b3, "[0, 1)"), debias=True)


def _adan_difference(b2: Any) -> Recurrence:
    return Recurrence(0.0, Partial(_average_difference, b2=as_hyperparameter("b2", b2, "[0, 1)")))


def _average_difference(weight: Any, b2: Any) -> tuple[Any, Coefficients]:
    # The average of g - g_previous is (1 - b2) (g - the average of g before it), so one buffer
    # holds it; that average starts at the first gradient, where the difference is zero.
    b2 = as_hyperparameter("b2", b2)
    weight = b2 * weight + (1 - b2)
    share = b2 * (1 - b2) / weight
    return weight, Coefficients(decay=b2, gain=1 - b2, read=-share, direct=share)


def _adan_ahead(b2: Any) -> Coefficients:
    return coefficients.optimistic_gradient(as_hyperparameter("b2", b2, "[0, 1)"))


def mars(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.95,
    b2: ScalarOrSchedule = 0.99,
    gamma: ScalarOrSchedule = 0.025,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    exact: bool = False,
) -> Optimizer:
    """MARS: AdamW of a gradient whose variance is reduced by the gradient before it.

    ``c = g + gamma b1 / (1-b1) (g - g')``, scaled down to norm 1 in each array where it
    is longer; then Adam's debiased averages of c and c^2.

    Args:
      learning_rate: The paper's eta.
      b1: The decay of the average of c, in [0, 1).
      b2: The decay of the average of c^2, in [0, 1).
      gamma: The size of the correction; 0 is Adam of the gradient, scaled down likewise.
      eps: Not negative.
      weight_decay: lambda of decoupled decay, ``- eta lambda y``, which needs params; or None.
      exact: Whether g' is the gradient of the current batch at the previous params, which `update`
        then needs as the extra argument ``previous_grad``; `jaxmom.with_previous_gradient` computes
        it. Otherwise g' is the gradient of the step before, and zero at the first step, as in the
        authors' code.

    Source:
      Yuan et al. 2024 (arXiv 2411.10438), MARS-AdamW, and their code, AGI-Arena/MARS.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.mars(3e-3, gamma=0.025)
    """
    hp = {"b1": b1, "b2": b2, "gamma": gamma, "eps": eps}
    direction = make_per_part(_EXACT_MARS if exact else _MARS, hp)
    return descend(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def _mars_direction(
    b1: Any = 0.95, b2: Any = 0.99, gamma: Any = 0.025, eps: Any = 1e-8
) -> Optimizer:
    corrected = momentum_method(coefficients.mars, None, b1=b1, gamma=gamma)
    return chain(corrected, _SHORTEN, scale_by_second_moment(b1, b2, eps))


def _exact_mars_direction(
    b1: Any = 0.95, b2: Any = 0.99, gamma: Any = 0.025, eps: Any = 1e-8
) -> Optimizer:
    corrected = transformation(stateless, _correct, {"b1": b1, "gamma": gamma})
    return chain(corrected, _SHORTEN, scale_by_second_moment(b1, b2, eps))


_MARS, _EXACT_MARS = lift(_mars_direction), lift(_exact_mars_direction)


def _correct(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params
    if extra.get("previous_grad") is None:
        raise TypeError(
            "mars with exact=True needs the gradient of the current batch at the previous params: "
            "give jm.with_previous_gradient(optimizer), or call "
            "update(gradient, state, params, previous_grad=...)."
        )
    c = coefficients.mars(hp["b1"], hp["gamma"])

    def combine(g: Any, previous: Any) -> jax.Array | None:
        if g is None:  # a frozen leaf
            return None
        direct, read, previous = (jnp.asarray(x, g.dtype) for x in (c.direct, c.read[0], previous))
        return direct * g + read * previous

    is_none = lambda leaf: leaf is None  # noqa: E731
    return jax.tree.map(combine, updates, extra["previous_grad"], is_leaf=is_none), state


def _shorten(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del hp, params, extra

    def shorten(c: jax.Array) -> jax.Array:
        norm = safe_sqrt(jnp.sum((c.conj() * c).real))
        return c / jnp.maximum(norm, 1.0).astype(c.dtype)

    return jax.tree.map(shorten, updates), state


_SHORTEN = transformation(stateless, _shorten, {})
