"""Numerators of methods with a second moment, as coefficients."""

from typing import Any

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxmom import schedules
from jaxmom.filters import Coefficients, Recurrence, as_hyperparameter, reading_new


def qhadam(b1: ArrayLike = 0.995, nu1: ArrayLike = 0.7) -> Recurrence:
    """The numerator of QHAdam: ``(1-nu1) g_t + nu1 m_{t+1} / (1 - b1^{t+1})``, m the average.

    Source:
      Ma and Yarats 2019 (arXiv 1810.06801), and their code, facebookresearch/qhoptim.
    """
    b1 = as_hyperparameter("b1", b1, "[0, 1)")
    return Recurrence(0.0, Partial(_mixed, beta=b1, nu=as_hyperparameter("nu1", nu1)))


def _mixed(weight: Any, beta: Any, nu: Any) -> tuple[Any, Coefficients]:
    beta, nu = as_hyperparameter("beta", beta), as_hyperparameter("nu", nu)
    weight = beta * weight + (1 - beta)
    return weight, reading_new(decay=beta, gain=1 - beta, read=nu / weight, direct=1 - nu)


def nadam(b1: ArrayLike = 0.9, momentum_decay: ArrayLike = 4e-3) -> Recurrence:
    """The numerator of NAdam, with m the average of the gradients, and t from 1.

    It is ``(1 - mu_t) g_t / (1 - mu_1...mu_t) + mu_{t+1} m_t / (1 - mu_1...mu_{t+1})``, where
    ``mu_t = b1 (1 - 0.96^{t psi} / 2)`` and psi is `momentum_decay`.

    Source:
      Dozat 2016 (ICLR workshop), algorithm 2; the schedule is PyTorch 2.13's.
    """
    b1 = as_hyperparameter("b1", b1, "[0, 1)")
    psi = as_hyperparameter("momentum_decay", momentum_decay, "[0, inf)")
    return Recurrence((0, 1.0), Partial(_nadam, b1=b1, psi=psi))


def _nadam(carry: Any, b1: Any, psi: Any) -> tuple[Any, Coefficients]:
    count, product = carry
    b1, psi = as_hyperparameter("b1", b1), as_hyperparameter("momentum_decay", psi)
    t = jnp.asarray(count, float) + 1
    mu, mu_next = (b1 * (1 - 0.5 * jnp.power(0.96, s * psi)) for s in (t, t + 1))
    product = product * mu
    direct, read = (1 - mu) / (1 - product), mu_next / (1 - product * mu_next)
    coefficients = reading_new(decay=b1, gain=1 - b1, read=read, direct=direct)
    return (optax.safe_increment(count), product), coefficients


def ademamix(
    b1: ArrayLike = 0.9,
    b3: ArrayLike = 0.9999,
    alpha: ArrayLike = 5.0,
    steps: ArrayLike | None = None,
) -> Recurrence:
    """The numerator of AdEMAMix: ``m1_t / (1 - b1^t) + alpha m2_t``, t from 1, m2 of decay b3.

    With `steps` T, alpha grows in a straight line from 0, ``alpha t / T``, and b3 from b1 with a
    half-life that does, until both are what was given at t = T.

    Source:
      Pagliardini, Ablin and Grangier 2024 (arXiv 2409.03137), algorithm 1 and appendix A.1.
    """
    values = {
        "b1": as_hyperparameter("b1", b1, "[0, 1)" if steps is None else "(0, 1)"),
        "b3": as_hyperparameter("b3", b3, "[0, 1)" if steps is None else "(0, 1)"),
        "alpha": as_hyperparameter("alpha", alpha),
    }
    if steps is None:
        return Recurrence((0, 0.0), Partial(_two_averages, **values))
    steps = as_hyperparameter("steps", steps, "(0, inf]")
    return Recurrence((0, 0.0), Partial(_two_averages_growing, steps=steps, **values))


def _two_averages(carry: Any, b1: Any, b3: Any, alpha: Any) -> tuple[Any, Coefficients]:
    count, weight = carry
    names = ("b1", "b3", "alpha")
    b1, b3, alpha = map(as_hyperparameter, names, (b1, b3, alpha))
    weight = b1 * weight + (1 - b1)
    coefficients = reading_new([b1, b3], [1 - b1, 1 - b3], [1 / weight, alpha])
    return (optax.safe_increment(count), weight), coefficients


def _two_averages_growing(
    carry: Any, b1: Any, b3: Any, alpha: Any, steps: Any
) -> tuple[Any, Coefficients]:
    t = optax.safe_increment(carry[0])
    b3 = schedules.half_life(b1, b3, steps)(t)
    return _two_averages(carry, b1, b3, schedules.linear(0.0, alpha, steps)(t))


def simplified_ademamix(b1: ArrayLike = 0.99, alpha: ArrayLike = 0.0) -> Coefficients:
    """The numerator of simplified AdEMAMix: ``m_{t+1} = b1 m_t + g_t; m_{t+1} + alpha g_t``.

    Source:
      Morwani et al. 2025 (arXiv 2502.02431), and their code, DepenM/Simplified-AdEMAMix.
    """
    b1 = as_hyperparameter("b1", b1, "[0, 1)")
    return reading_new(decay=b1, gain=1.0, read=1.0, direct=as_hyperparameter("alpha", alpha))


def mars(b1: ArrayLike = 0.95, gamma: ArrayLike = 0.025) -> Coefficients:
    """MARS's corrected gradient: ``c_t = g_t + gamma b1 / (1-b1) (g_t - g_{t-1})``, g_{-1} = 0.

    Source:
      Yuan et al. 2024 (arXiv 2411.10438), and their code, AGI-Arena/MARS, approximate form.
    """
    b1 = as_hyperparameter("b1", b1, "[0, 1)")
    correction = as_hyperparameter("gamma", gamma) * b1 / (1 - b1)
    return Coefficients(decay=0.0, gain=1.0, read=-correction, direct=1 + correction)
