"""The named methods as optimizers: the coefficients of each, and where its learning rate stands.

The recurrences and their sources are in `jaxmom.coefficients`, under the same names. Every number
is a leaf of the optimizer and may be a float, an array, a tracer, a batch, or a schedule.
"""

from typing import Any

import optax
from jax.typing import ArrayLike

from jaxmom import coefficients
from jaxmom._lift import lift
from jaxmom.combine import chain
from jaxmom.momentum import momentum_method
from jaxmom.transform import Optimizer, ScalarOrSchedule

_add_decayed_weights = lift(optax.add_decayed_weights)
_scale_by_learning_rate = lift(optax.scale_by_learning_rate)
# Once, for transformations are compared by the identity of their functions.
_ASCEND = optax.scale(-1.0)
_SIGN = optax.scale_by_sign()


def gradient_descent(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Gradient descent: ``y <- y - alpha g``.

    Args:
      learning_rate: alpha.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), jm.gradient_descent(0.5), steps=3)
      >>> print(run.params)
      0.125
    """
    return momentum_method(coefficients.gradient_descent, "outside", learning_rate=learning_rate)


def heavy_ball(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Polyak's heavy ball in velocity form: ``v <- beta v - alpha g; y <- y + v``.

    The learning rate is inside the velocity, so that this is Polyak's two-step rule under any
    schedule. `sgd` has it outside, where a drop of the learning rate acts on old gradients too; at
    a constant learning rate the two are the same.

    Args:
      learning_rate: alpha; the step in a steady gradient is alpha / (1 - beta).
      beta: In (-1, 1).

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> f = lambda p: 2 * p[0] ** 2 + p[1] ** 2 / 2
      >>> run = jm.optimize(f, jnp.array([2.0, 2.0]), jm.heavy_ball(0.1, beta=0.9), steps=30)
      >>> print(f"{run.params[0]:.4f} {run.params[1]:.4f}")
      0.1640 -0.4011
    """
    return momentum_method(
        coefficients.heavy_ball, "inside", learning_rate=learning_rate, beta=beta
    )


def ema_momentum(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9, debias: bool = False
) -> Optimizer:
    """Momentum as an average: ``v <- beta v + (1 - beta) g; y <- y - alpha v``.

    The step in a steady gradient is alpha, whatever beta is. The learning rate is outside.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).
      debias: Divide v by ``1 - beta^{t+1}``, so that the first step is alpha g already.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.ema_momentum(0.01, beta=jm.schedules.half_life(0.5, 0.99, steps=100))
    """
    return momentum_method(
        coefficients.ema_momentum, "outside", learning_rate=learning_rate, beta=beta, debias=debias
    )


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarOrSchedule = 0.0,
    dampening: ScalarOrSchedule = 0.0,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    maximize: bool = False,
) -> Optimizer:
    """PyTorch's SGD, to the last step: ``b <- mu b + (1 - tau) g; y <- y - alpha b``.

    The first buffer is the first gradient, undamped. The learning rate is outside.

    Args:
      learning_rate: alpha.
      momentum: mu, not negative.
      dampening: tau.
      nesterov: Step by ``alpha (g + mu b)``; needs momentum and no dampening, as in PyTorch.
      weight_decay: lambda: ``g <- g + lambda y`` before the buffer, which needs params. None, for
        PyTorch's 0, leaves params out of it.
      maximize: Go up instead of down.

    Raises:
      ValueError: nesterov with a plain momentum of zero or a plain dampening that is not.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
      >>> print(*jm.hyperparameters(optimizer))
      weight_decay learning_rate momentum dampening
    """
    if nesterov and _differs(momentum, dampening):
        raise ValueError(
            "nesterov needs momentum > 0 and dampening = 0, as in PyTorch; "
            f"got momentum = {momentum} and dampening = {dampening}."
        )
    stages = [_ASCEND] if maximize else []
    stages += [] if weight_decay is None else [_add_decayed_weights(weight_decay)]
    filtered = momentum_method(
        coefficients.sgd,
        "outside",
        first_gradient=True,
        learning_rate=learning_rate,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
    )
    return chain(*stages, filtered) if stages else filtered


def _differs(momentum: Any, dampening: Any) -> bool:
    plain = (int, float)
    off = isinstance(momentum, plain) and momentum <= 0
    return off or (isinstance(dampening, plain) and dampening != 0)


def nesterov(learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9) -> Optimizer:
    """Nesterov's method: ``x' = y - alpha g; y <- x' + beta (x' - x); x <- x'``.

    params is y, where gradients are taken; `eval_params` is x. At constant hyperparameters the same
    as ``sgd(nesterov=True)``; under schedules still Nesterov's method.

    Args:
      learning_rate: alpha.
      beta: In (-1, 1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov(0.1, beta=jm.schedules.sutskever(beta_max=0.99))
    """
    return momentum_method(coefficients.nesterov, "inside", learning_rate=learning_rate, beta=beta)


def nesterov_convex(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Nesterov's method for convex functions: `nesterov` with ``beta_k = (t_k - 1) / t_{k+1}``.

    Args:
      learning_rate: alpha, at most 1/L for ``f(x_N) - f* <= 2 |x_0 - x*|^2 / (alpha (N + 1)^2)``.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov_convex(learning_rate=1 / 25.0)
    """
    return momentum_method(coefficients.nesterov_convex, "inside", learning_rate=learning_rate)


def nesterov_strongly_convex(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Nesterov's method tuned for curvatures in [mu, L]: `nesterov` with 1/L and beta from L/mu.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.nesterov_strongly_convex(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.nesterov_strongly_convex, "inside", mu=mu, L=L)


def qhm(
    learning_rate: ScalarOrSchedule, beta: ScalarOrSchedule = 0.999, nu: ScalarOrSchedule = 0.7
) -> Optimizer:
    """Quasi-hyperbolic momentum: ``m <- beta m + (1-beta) g; y <- y - alpha ((1-nu) g + nu m)``.

    Args:
      learning_rate: alpha; alpha / (1 - beta) of a heavy ball becomes alpha here.
      beta: In [0, 1).
      nu: The weight of the average; 0 is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.qhm(0.1, beta=0.999, nu=0.7)
    """
    return momentum_method(
        coefficients.qhm, "outside", learning_rate=learning_rate, beta=beta, nu=nu
    )


def aggmo(learning_rate: ScalarOrSchedule, betas: Any = (0.0, 0.9, 0.99)) -> Optimizer:
    """Aggregated momentum: ``v_i <- beta_i v_i - g; y <- y + (alpha / K) sum_i v_i``.

    Args:
      learning_rate: alpha; the step in a steady gradient is alpha times the mean of
        1 / (1 - beta_i), which is 37 alpha by default.
      betas: [K] numbers in (-1, 1), or a schedule that returns as many as there are by default.

    Example:
      >>> import jaxmom as jm
      >>> len(jm.aggmo(0.1, betas=(0.0, 0.9)).init(0.0).buffers)
      2
    """
    return momentum_method(coefficients.aggmo, "outside", learning_rate=learning_rate, betas=betas)


def triple_momentum(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Triple momentum for curvatures in [mu, L]; its rate is 1 - sqrt(mu/L), at `eval_params`.

    Args:
      mu: The constant of strong convexity, positive.
      L: The constant of smoothness.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.triple_momentum(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.triple_momentum, "inside", mu=mu, L=L)


def chebyshev(mu: ScalarOrSchedule, L: ScalarOrSchedule) -> Optimizer:
    """Chebyshev's semi-iteration for quadratics with curvatures in [mu, L].

    Args:
      mu: The least curvature, positive.
      L: The greatest curvature.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.chebyshev(mu=1.0, L=25.0)
    """
    return momentum_method(coefficients.chebyshev, "inside", mu=mu, L=L)


def demon(
    learning_rate: ScalarOrSchedule, steps: ScalarOrSchedule, beta: ScalarOrSchedule = 0.9
) -> Optimizer:
    """Decaying momentum: `heavy_ball` whose beta falls to 0 in `steps` steps.

    Args:
      learning_rate: alpha.
      steps: T, the length of the run.
      beta: The first beta, in [0, 1).

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.demon(0.1, steps=1000)
    """
    return momentum_method(
        coefficients.demon, "inside", learning_rate=learning_rate, steps=steps, beta=beta
    )


def signum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """The sign of the momentum: ``m <- beta m + (1-beta) g; y <- y - alpha sign(m)``.

    Source: Bernstein et al. 2018 (arXiv 1802.04434), algorithm 2.

    Args:
      learning_rate: alpha.
      beta: In [0, 1).
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.signum(1e-3, beta=0.9)
    """
    filtered = momentum_method(coefficients.ema_momentum, "nowhere", beta=beta)
    return _signed(filtered, learning_rate, weight_decay)


def lion(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.99,
    weight_decay: ScalarOrSchedule | None = None,
) -> Optimizer:
    """Lion: ``u = sign(b1 m + (1-b1) g); m <- b2 m + (1-b2) g; y <- y - alpha (u + lambda y)``.

    Args:
      learning_rate: alpha.
      b1: In [0, 1].
      b2: In [0, 1).
      weight_decay: lambda, which needs params; or None.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.lion(1e-4, b1=0.9, b2=0.99, weight_decay=0.1)
    """
    filtered = momentum_method(coefficients.lion, "nowhere", b1=b1, b2=b2)
    return _signed(filtered, learning_rate, weight_decay)


def _signed(filtered: Optimizer, learning_rate: Any, weight_decay: Any) -> Optimizer:
    decay = [] if weight_decay is None else [_add_decayed_weights(weight_decay)]
    return chain(filtered, _SIGN, *decay, _scale_by_learning_rate(learning_rate))


def optimistic_gradient(learning_rate: ScalarOrSchedule, optimism: ArrayLike = 1.0) -> Optimizer:
    """Optimistic gradient: ``y <- y - alpha (g + o (g - g_previous))``, for games above all.

    Args:
      learning_rate: alpha.
      optimism: o; 0 is gradient descent.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.optimistic_gradient(0.1)
    """
    return momentum_method(
        coefficients.optimistic_gradient,
        "outside",
        learning_rate=learning_rate,
        optimism=optimism,
    )
