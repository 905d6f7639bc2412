"""Conversions between the ways in which libraries and papers write one-buffer momentum.

All of them are one filter with three numbers, those of quasi-hyperbolic momentum (`jaxmom.qhm`):

    m <- beta m + (1 - beta) g;    y <- y - learning_rate ((1 - nu) g + nu m)

nu = 1 is an average or a sum (heavy ball), nu = beta is Nesterov's method, nu = 0 is descent. So
each `from_...` returns the keywords of `jaxmom.qhm`, and each `to_...` takes them. At a constant
learning rate the conversions are exact, first step included. `jaxmom.theory.equivalent` checks any
pair of optimizers, `jaxmom.rescale` follows a change of the batch.
"""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from jaxmom.filters import as_curvatures, as_hyperparameter

QhmKeywords: TypeAlias = dict[str, Any]  # learning_rate, beta and nu
Tuning: TypeAlias = Literal["heavy_ball", "nesterov"]


def from_pytorch(
    lr: Any, momentum: Any = 0.0, dampening: Any = 0.0, nesterov: bool = False
) -> QhmKeywords:
    """Convert from `torch.optim.SGD`: ``b <- mu b + g; y <- y - lr b``, or ``g + mu b`` (Nesterov).

    Args:
      lr: Its learning rate.
      momentum: mu in [0, 1).
      dampening: Must be 0: the first step of PyTorch is undamped, which no other method is;
        `jaxmom.sgd` has it.
      nesterov: As in PyTorch.

    Returns:
      learning_rate ``lr / (1 - mu)``, beta mu, and nu 1 or mu.

    Raises:
      ValueError: Dampening, or a plain number that is out of bounds.

    Source:
      PyTorch 2.13 documentation of torch.optim.SGD; Ma and Yarats 2019 (arXiv 1810.06801)
      for the three numbers.

    Example:
      >>> from jaxmom import conversions
      >>> {name: round(x, 6) for name, x in conversions.from_pytorch(0.01, momentum=0.9).items()}
      {'learning_rate': 0.1, 'beta': 0.9, 'nu': 1.0}
    """
    if not isinstance(dampening, int | float) or dampening != 0:
        raise ValueError(
            f"dampening = {dampening!r} has no counterpart: PyTorch leaves the first step "
            "undamped. jaxmom.sgd takes the same arguments."
        )
    beta = as_hyperparameter("momentum", momentum, "[0, 1)")
    rate = as_hyperparameter("lr", lr, "[0, inf)")
    return {"learning_rate": rate / (1 - beta), "beta": beta, "nu": beta if nesterov else 1.0}


def to_pytorch(learning_rate: Any, beta: Any, nu: Any = 1.0) -> dict[str, Any]:
    """Convert to `torch.optim.SGD`.

    Args:
      learning_rate: That of `jaxmom.qhm`, a plain number.
      beta: A plain number in [0, 1).
      nu: 1 or beta; PyTorch has nothing between them.

    Returns:
      lr, momentum, dampening and nesterov.

    Raises:
      ValueError: nu is neither of the two.

    Example:
      >>> from jaxmom import conversions
      >>> conversions.to_pytorch(learning_rate=0.2, beta=0.5, nu=0.5)
      {'lr': 0.1, 'momentum': 0.5, 'dampening': 0.0, 'nesterov': True}
    """
    rate, beta, nesterov = _as_sum(learning_rate, beta, nu)
    return {"lr": rate, "momentum": beta, "dampening": 0.0, "nesterov": nesterov}


def from_keras(learning_rate: Any, momentum: Any = 0.0, nesterov: bool = False) -> QhmKeywords:
    """Convert from `keras.optimizers.SGD`: ``v <- mu v - lr g; w <- w + v``, or ``mu v - lr g``.

    Its learning rate is inside the velocity, so that a schedule acts on new gradients only, as in
    `jaxmom.heavy_ball` and unlike `jaxmom.qhm`; at a constant one they agree.

    Args:
      learning_rate: lr.
      momentum: mu in [0, 1).
      nesterov: As in Keras.

    Source:
      Keras 3 documentation of keras.optimizers.SGD.
    """
    return from_pytorch(learning_rate, momentum, nesterov=nesterov)


def to_keras(learning_rate: Any, beta: Any, nu: Any = 1.0) -> dict[str, Any]:
    """Convert to the keywords of `keras.optimizers.SGD`; arguments as in `to_pytorch`."""
    rate, beta, nesterov = _as_sum(learning_rate, beta, nu)
    return {"learning_rate": rate, "momentum": beta, "nesterov": nesterov}


def from_optax(learning_rate: Any, momentum: Any = None, nesterov: bool = False) -> QhmKeywords:
    """Convert from `optax.sgd`, where momentum=None means 0; otherwise as in PyTorch."""
    return from_pytorch(learning_rate, 0.0 if momentum is None else momentum, nesterov=nesterov)


def to_optax(learning_rate: Any, beta: Any, nu: Any = 1.0) -> dict[str, Any]:
    """Convert to the keywords of `optax.sgd`; arguments as in `to_pytorch`."""
    return to_keras(learning_rate, beta, nu)


def from_curvatures(mu: Any, L: Any, method: Tuning = "heavy_ball") -> QhmKeywords:
    """Return the best numbers for curvatures in [mu, L].

    Args:
      mu: The least curvature, above 0.
      L: The greatest curvature.
      method: "heavy_ball", the best on quadratics: ``alpha = (2 / (sqrt L + sqrt mu))^2`` and
        ``beta = ((sqrt L - sqrt mu) / (sqrt L + sqrt mu))^2``. Or "nesterov", for strongly convex
        functions: ``alpha = 1 / L`` and ``beta = (sqrt L - sqrt mu) / (sqrt L + sqrt mu)``.

    Raises:
      ValueError: mu and L are not in this order, or `method` is neither of the two.

    Source:
      Polyak 1964; Nesterov 2004, Introductory Lectures on Convex Optimization, scheme 2.2.11.

    Example:
      >>> from jaxmom import conversions
      >>> conversions.from_curvatures(1.0, 9.0, "nesterov")["beta"]
      0.5
    """
    mu, L = as_curvatures(mu, L)
    low, high = mu**0.5, L**0.5
    ratio = (high - low) / (high + low)
    if _check_method(method) == "nesterov":
        return from_pytorch(1 / L, ratio, nesterov=True)
    return from_pytorch((2 / (high + low)) ** 2, ratio**2)


def to_curvatures(learning_rate: Any, beta: Any, nu: Any = 1.0) -> dict[str, Any]:
    """Return the mu and L for which these numbers are best: the inverse of `from_curvatures`.

    Args:
      learning_rate: That of `jaxmom.qhm`, a plain number above 0.
      beta: A plain number in [0, 1).
      nu: 1 for heavy ball, beta for Nesterov's method.

    Returns:
      mu and L.

    Raises:
      ValueError: nu is neither of the two.
    """
    rate, beta, nesterov = _as_sum(learning_rate, beta, nu)
    if rate == 0:
        raise ValueError("a learning rate of 0 is best for no curvature; give one above 0.")
    root = beta if nesterov else beta**0.5
    high = (1 if nesterov else 1 + root) / rate**0.5
    return {"mu": (high * (1 - root) / (1 + root)) ** 2, "L": high**2}


def from_effective(effective_learning_rate: Any, memory: Any, nu: Any = 1.0) -> QhmKeywords:
    """Return the numbers for a step in a steady gradient and a memory.

    Args:
      effective_learning_rate: The step per gradient in a steady gradient, H(1) of
        `jaxmom.theory.effective_learning_rate`.
      memory: One more than the mean age of the gradients in a step, at least 1, as in
        `jaxmom.theory.memory`: ``1 + nu beta / (1 - beta)``.
      nu: The share of the average in the step, in (0, 1].

    Raises:
      ValueError: A plain number is out of bounds.

    Example:
      >>> from jaxmom import conversions
      >>> conversions.from_effective(0.1, memory=4.0)
      {'learning_rate': 0.1, 'beta': 0.75, 'nu': 1.0}
    """
    rate = as_hyperparameter("effective_learning_rate", effective_learning_rate, "[0, inf)")
    age = as_hyperparameter("memory", memory, "[1, inf)") - 1
    nu = as_hyperparameter("nu", nu, "(0, 1]")
    return {"learning_rate": rate, "beta": age / (nu + age), "nu": nu}


def to_effective(learning_rate: Any, beta: Any, nu: Any = 1.0) -> dict[str, Any]:
    """Return the effective learning rate and the memory: the inverse of `from_effective`.

    Args:
      learning_rate: That of `jaxmom.qhm`.
      beta: In [0, 1).
      nu: The share of the average in the step.
    """
    beta = as_hyperparameter("beta", beta, "[0, 1)")
    memory = 1 + as_hyperparameter("nu", nu) * beta / (1 - beta)
    return {"effective_learning_rate": learning_rate, "memory": memory}


def _as_sum(learning_rate: Any, beta: Any, nu: Any) -> tuple[float, float, bool]:
    """Return the numbers of ``m <- beta m + g``, and whether it is Nesterov's method."""
    numbers = {"learning_rate": (learning_rate, "[0, inf)"), "beta": (beta, "[0, 1)")}
    rate, beta = (as_hyperparameter(name, *value) for name, value in numbers.items())
    is_average, is_nesterov = bool(jnp.isclose(nu, 1)), bool(jnp.isclose(nu, beta))
    if not (is_average or is_nesterov):
        raise ValueError(
            f"nu = {nu} is neither 1 nor beta = {beta}, and other libraries have no momentum "
            "between heavy ball and Nesterov's; stay with jaxmom.qhm."
        )
    return rate * (1 - beta), beta, is_nesterov and not is_average


def _check_method(method: str) -> str:
    if method not in ("heavy_ball", "nesterov"):
        raise ValueError(f'method is "heavy_ball" or "nesterov", not {method!r}.')
    return method
