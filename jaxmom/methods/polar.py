"""Methods that step along a polar factor, as optimizers: Muon and NorMuon."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxmom import coefficients
from jaxmom._partition import Labels, partition
from jaxmom.filters import Coefficients
from jaxmom.methods._heads import Momentum, as_filter
from jaxmom.methods._polar import QUINTIC, Scaling, normalize_neurons, scale_by_polar_factor
from jaxmom.methods._stages import descend
from jaxmom.transform import Optimizer, PyTree, ScalarOrSchedule


def muon(
    learning_rate: ScalarOrSchedule,
    momentum: Momentum = 0.95,
    *,
    scaling: Scaling = "keller",
    weight_decay: ScalarOrSchedule | None = None,
    rest: optax.GradientTransformation | None = None,
    labels: Labels | None = None,
    ns_coefficients: Any = QUINTIC,
    ns_steps: int = 5,
    ns_eps: ScalarOrSchedule = 1e-7,
    output_axis: Literal[-1, -2] = -1,
) -> Optimizer:
    """Muon: a momentum filter, then the polar factor of every matrix.

    ``m <- beta m + (1-beta) g; u = beta m + (1-beta) g; y <- y - alpha scale polar(u)``: the
    filter, then Nesterov's step, then the factor, as in the authors' code. Any other filter may
    stand before the factor. `optax.contrib.muon` debiases m and g by different powers of beta,
    which turns its first steps by a few degrees.

    Args:
      learning_rate: alpha; with "keller" it is the spectral norm of the step.
      momentum: beta, in [0, 1), a number or a schedule; or a filter: `Coefficients`, a
        `Recurrence`, or an optimizer that ends without a learning rate.
      scaling: "keller", ``sqrt(max(1, outputs / inputs))``; "moonlight",
        ``0.2 sqrt(max(outputs, inputs))``; or None. See `scale_by_polar_factor`.
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.
      rest: The optimizer, with its own learning rate, of what is not a matrix; None refuses arrays
        with fewer than two axes. Its hyperparameters are named "rest.learning_rate" and so on, and
        Muon's then "matrices.learning_rate".
      labels: Where `rest` applies: a pytree of "matrices" and "rest" that is a prefix of params, or
        a function of params that returns one. The default is by the number of axes alone, and the
        authors advise to give embeddings and the last layer to `rest` too.
      ns_coefficients: (a, b, c) of the iteration, or a row of them for each step.
      ns_steps: The number of iterations, part of the program.
      ns_eps: What is added to the norm before the first iteration.
      output_axis: The axis of a matrix that its outputs are on: -1 for ``x @ W``, -2 for ``W @ x``.

    Raises:
      ValueError: `momentum` ends with a learning rate, an option is unknown, or `labels` comes
        without `rest`.

    Source:
      Jordan et al. 2024 (kellerjordan.github.io/posts/muon) and their code, KellerJordan/Muon;
      Liu et al. 2025 (arXiv 2502.16982), equation 4, for "moonlight".

    Example:
      >>> import optax, jaxmom as jm
      >>> optimizer = jm.muon(0.02, rest=jm.lift(optax.adam)(1e-3))
      >>> slow = jm.muon(0.02, momentum=jm.coefficients.aggmo(betas=(0.9, 0.99)))
    """
    head = scale_by_polar_factor(
        scaling,
        ns_coefficients=ns_coefficients,
        ns_steps=ns_steps,
        ns_eps=ns_eps,
        output_axis=output_axis,
    )
    stages = (as_filter(momentum, _nesterov_average), head)
    matrices = descend(*stages, learning_rate=learning_rate, weight_decay=weight_decay)
    return _with_rest(matrices, rest, labels)


def normuon(
    learning_rate: ScalarOrSchedule,
    momentum: Momentum = 0.95,
    b2: ScalarOrSchedule = 0.95,
    *,
    eps: ScalarOrSchedule = 1e-10,
    scaling: Scaling = "keller",
    weight_decay: ScalarOrSchedule | None = None,
    rest: optax.GradientTransformation | None = None,
    labels: Labels | None = None,
    ns_coefficients: Any = QUINTIC,
    ns_steps: int = 5,
    ns_eps: ScalarOrSchedule = 1e-7,
    output_axis: Literal[-1, -2] = -1,
) -> Optimizer:
    """NorMuon: `muon` whose outputs get steps of even size.

    O is the polar factor, and v of each output (each neuron) the average of the mean square of
    its entries in O: ``v <- b2 v + (1-b2) mean(O^2); N = O / (sqrt(v) + eps)``, and the step is
    ``scale N |O| / |N|``, so that it keeps its norm.

    Args:
      learning_rate: alpha.
      momentum: As in `muon`.
      b2: The decay of v, in [0, 1).
      eps: Not negative.
      scaling: As in `muon`. "keller" is that of the authors' code; "moonlight" is the paper's
        ``0.2 sqrt(m n) / |N|`` for a factor of norm ``sqrt(min(m, n))``.
      weight_decay: lambda of decoupled decay, ``- alpha lambda y``, which needs params; or None.
      rest: As in `muon`.
      labels: As in `muon`.
      ns_coefficients: As in `muon`.
      ns_steps: As in `muon`.
      ns_eps: As in `muon`.
      output_axis: As in `muon`; it says which entries belong to one neuron.

    Raises:
      ValueError: As in `muon`.

    Source:
      Li et al. 2025 (arXiv 2510.05491), algorithm 1, and the authors' code.

    Example:
      >>> import jaxmom as jm
      >>> optimizer = jm.normuon(0.02, b2=0.95)
    """
    factor = scale_by_polar_factor(
        None, ns_coefficients=ns_coefficients, ns_steps=ns_steps, ns_eps=ns_eps
    )
    even = normalize_neurons(b2, eps, scaling, output_axis)
    stages = (as_filter(momentum, _nesterov_average), factor, even)
    matrices = descend(*stages, learning_rate=learning_rate, weight_decay=weight_decay)
    return _with_rest(matrices, rest, labels)


def _nesterov_average(beta: Any) -> Coefficients:
    return coefficients.qhm(beta, beta)


def _with_rest(
    matrices: Optimizer, rest: optax.GradientTransformation | None, labels: Labels | None
) -> Optimizer:
    if rest is not None:
        transforms = {"matrices": matrices, "rest": rest}
        return partition(transforms, _label_matrices if labels is None else labels)
    if labels is not None:
        raise ValueError(
            "labels say which arrays are for another optimizer, but there is none; give it as "
            "rest, as in jm.muon(0.02, rest=jm.lift(optax.adam)(1e-3), labels=labels)."
        )
    return matrices


def _label_matrices(params: PyTree) -> PyTree:
    return jax.tree.map(lambda p: "matrices" if jnp.ndim(p) >= 2 else "rest", params)
