"""Methods with a second moment, as optimizers: some momentum above Adam's denominator."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmom import coefficients
from jaxmom.combine import chain
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter
from jaxmom.methods._heads import (
    SQUARE,
    divide_by_root,
    scale_by_second_moment,
)
from jaxmom.methods._stages import descend
from jaxmom.momentum import momentum_method
from jaxmom.transform import (
    Hyperparameters,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    transformation,
)


def qhadam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.995,
    b2: ScalarOrSchedule = 0.999,
    nu1: ScalarOrSchedule = 0.7,
    nu2: ScalarOrSchedule = 1.0,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Quasi-hyperbolic Adam: both averages are mixed with what they are averages of.

    ``u = ((1-nu1) g + nu1 m^) / (sqrt((1-nu2) g^2 + nu2 v^) + eps)``, where m^ and v^ are Adam's
    debiased averages. Adam is nu1 = nu2 = 1.

    Args:
      learning_rate: alpha.
      b1: The decay of m, in [0, 1).
      b2: The decay of v, in [0, 1).
      nu1: The weight of m.
      nu2: The weight of v, in [0, 1].
      eps: Not negative.
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.

    Source:
      Ma and Yarats 2019 (arXiv 1810.06801), and their code, facebookresearch/qhoptim.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.qhadam(1e-3, b1=0.995, b2=0.999, nu1=0.7, nu2=1.0)
    """
    numerator = momentum_method(coefficients.qhadam, None, b1=b1, nu1=nu1)
    second_moment = chain(SQUARE, momentum_method(_mixed_second_moment, None, b2=b2, nu2=nu2))
    direction = divide_by_root(numerator, second_moment, eps)
    return descend(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def _mixed_second_moment(b2: Any, nu2: Any) -> Recurrence:
    b2 = as_hyperparameter("b2", b2, "[0, 1)")
    return coefficients.qhadam(b2, as_hyperparameter("nu2", nu2, "[0, 1]"))


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    momentum_decay: ScalarOrSchedule = 4e-3,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Adam with Nesterov's momentum and its schedule, as in PyTorch.

    ``mu_t = b1 (1 - 0.96^{t psi} / 2)``, t from 1, and the numerator is
    ``(1 - mu_t) g / (1 - mu_1...mu_t) + mu_{t+1} m / (1 - mu_1...mu_{t+1})``. `optax.nadam` has a
    constant mu = b1 instead.

    Args:
      learning_rate: alpha.
      b1: The decay of m, in [0, 1).
      b2: The decay of v, in [0, 1).
      eps: Not negative.
      momentum_decay: psi, not negative.
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.

    Source:
      Dozat 2016 (ICLR workshop), algorithm 2; PyTorch 2.13's torch.optim.NAdam, whose weight decay
      is this one with ``decoupled_weight_decay=True``.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nadam(2e-3)
    """
    numerator = momentum_method(coefficients.nadam, None, b1=b1, momentum_decay=momentum_decay)
    direction = scale_by_second_moment(numerator, b2, eps)
    return descend(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ScalarOrSchedule = 1e-8,
    steps: ScalarOrSchedule | None = None,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Adam with a second, slow average: ``u = (m1^ + alpha m2) / (sqrt(v^) + eps)``.

    m1 has the decay b1 and is debiased, m2 has the decay b3 and is not. With `steps` T, alpha and
    the half-life of b3 grow in straight lines to what they are at t = T; t is 1 at the first step,
    as in the paper and the authors' PyTorch. `optax.contrib.ademamix` has schedules for both
    instead, whose count is 0 at the first step; at constants it is the same.

    Args:
      learning_rate: The paper's eta.
      b1: The decay of m1, in [0, 1); in (0, 1) with `steps`.
      b2: The decay of v, in [0, 1).
      b3: The decay of m2, as `b1`.
      alpha: The weight of m2.
      eps: Not negative.
      steps: T, the length of the warm-up of alpha and b3; None for none. The paper takes the length
        of the run.
      weight_decay: lambda of decoupled decay, ``- eta lambda y``, which needs params; or None.

    Source:
      Pagliardini, Ablin and Grangier 2024 (arXiv 2409.03137), algorithm 1.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ademamix(1e-3, steps=10_000)
    """
    hp: dict[str, Any] = {"b1": b1, "b3": b3, "alpha": alpha}
    hp |= {} if steps is None else {"steps": steps}
    numerator = momentum_method(coefficients.ademamix, None, **hp)
    direction = scale_by_second_moment(numerator, b2, eps)
    return descend(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.99,
    b2: ScalarOrSchedule = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """One sum and the gradient itself: ``m <- b1 m + g; u = (m + alpha g) / (sqrt(v^) + eps)``.

    m is a sum, so the step in a steady gradient grows by 1 / (1 - b1).
    `optax.contrib.simplified_ademamix` is the same.

    Args:
      learning_rate: The paper's eta.
      b1: The decay of m, in [0, 1).
      b2: The decay of v, in [0, 1).
      alpha: The weight of the gradient: large for small batches, near 0 for large ones.
      eps: Not negative.
      weight_decay: lambda of decoupled decay, ``- eta lambda y``, which needs params; or None.

    Source:
      Morwani et al. 2025 (arXiv 2502.02431), and their code, DepenM/Simplified-AdEMAMix.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.simplified_ademamix(1e-5, b1=0.99, alpha=100.0)
    """
    numerator = momentum_method(coefficients.simplified_ademamix, None, b1=b1, alpha=alpha)
    direction = scale_by_second_moment(numerator, b2, eps)
    return descend(direction, learning_rate=learning_rate, weight_decay=weight_decay)


def adopt(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.9999,
    eps: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """ADOPT: momentum of gradients that were divided by the second moment of those before them.

    ``m <- b1 m + (1-b1) clip(g / max(sqrt(v), eps), t^{1/4})``, and only then
    ``v <- b2 v + (1-b2) g^2``, t from 0. So the first step, of t = 0, makes v = g^2 and no update.
    `optax.contrib.adopt` is the same, without weight decay.

    Args:
      learning_rate: alpha.
      b1: The decay of m, in [0, 1).
      b2: The decay of v, in [0, 1).
      eps: Not negative.
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None. It
        acts at the first step too.

    Source:
      Taniguchi et al. 2024 (arXiv 2411.02853), algorithm 2, with c_t = t^{1/4}.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.adopt(1e-3)
    """
    before = momentum_method(_second_moment_before, None, first_gradient=True, b2=b2)
    gradient = momentum_method(coefficients.gradient_descent, None)
    normalized = divide_by_root(gradient, chain(SQUARE, before), eps, at_least=True)
    average = momentum_method(_plain_average, None, b1=b1)
    stages = (normalized, _CLIP_AT_ROOT, average)
    return descend(*stages, learning_rate=learning_rate, weight_decay=weight_decay)


def _second_moment_before(b2: Any) -> Coefficients:
    b2 = as_hyperparameter("b2", b2, "[0, 1)")
    return Coefficients(decay=b2, gain=1 - b2, read=1.0)


def _plain_average(b1: Any) -> Coefficients | Recurrence:
    return coefficients.ema_momentum(as_hyperparameter("b1", b1, "[0, 1)"))


def _zero_count(hp: Hyperparameters, params: PyTree) -> jax.Array:
    del hp, params
    return jnp.zeros([], jnp.int32)


def _clip_at_root(
    hp: Hyperparameters, updates: PyTree, state: jax.Array, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del hp, params, extra

    def clip(u: jax.Array) -> jax.Array:
        bound = jnp.power(jnp.asarray(state, u.real.dtype), 0.25)
        if jnp.iscomplexobj(u):  # as a pair of real numbers
            return jax.lax.complex(jnp.clip(u.real, -bound, bound), jnp.clip(u.imag, -bound, bound))
        return jnp.clip(u, -bound, bound)

    return jax.tree.map(clip, updates), optax.safe_increment(state)


_CLIP_AT_ROOT = transformation(_zero_count, _clip_at_root, {})
