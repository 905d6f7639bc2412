"""The polar factor as a head: Newton-Schulz iterations, scaling by shape, and NorMuon's neurons."""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmom._per_part import make_per_part
from jaxmom.filters import as_hyperparameter
from jaxmom.methods._heads import check_number, map_pairs, safe_sqrt, stateless
from jaxmom.transform import (
    NUMBER,
    CheckFn,
    Hyperparameters,
    InitFn,
    Optimizer,
    PyTree,
    ScalarOrSchedule,
    Static,
    UpdateFn,
    transformation,
    wide_dtype,
)

Scaling: TypeAlias = Literal["keller", "moonlight"] | None
QUINTIC = (3.4445, -4.7750, 2.0315)


def scale_by_polar_factor(
    scaling: Scaling = "keller",
    *,
    ns_coefficients: Any = QUINTIC,
    ns_steps: int = 5,
    ns_eps: ScalarOrSchedule = 1e-7,
    output_axis: Literal[-1, -2] = -1,
) -> Optimizer:
    """Replace every matrix by its polar factor: ``U V^T`` for ``U S V^T``, nearly.

    ``X <- M / (|M| + eps)`` with Frobenius' norm, then `ns_steps` times
    ``A = X X^T; X <- a X + (b A + c A^2) X``. With the usual (a, b, c) the singular values end
    between 0.7 and 1.2, not at 1. The result is as good in float32 as in the bfloat16 of the
    authors' code, and here it is in the dtype of the state.

    Args:
      scaling: What the factor of a matrix from n inputs to m outputs is multiplied by. "keller":
        ``sqrt(max(1, m / n))``; "moonlight": ``0.2 sqrt(max(m, n))``, for steps of the size of
        Adam's; None: 1.
      ns_coefficients: (a, b, c), the same at every step; or [ns_steps, 3], such as the tables of
        Polar Express.
      ns_steps: The number of iterations, part of the program.
      ns_eps: eps, not negative.
      output_axis: The axis of the outputs. -1 is for ``x @ W``, as in flax, haiku, optax's own muon
        and `jaxmom.problems`; -2 is for ``W @ x``, as in PyTorch (where the authors' code has rows
        for m) and equinox.

    Returns:
      A stage without state, for `jaxmom.chain` after a filter and before a learning rate. Axes
      before the last two are a stack of matrices.

    Raises:
      ValueError: An option is unknown, `ns_coefficients` has another shape, or an array has fewer
        than two axes.

    Source:
      Jordan et al. 2024 (kellerjordan.github.io/posts/muon); Liu et al. 2025 (arXiv 2502.16982),
      equation 4; Amsel et al. 2025 (arXiv 2505.16932).

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> head = jm.scale_by_polar_factor(None, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=30)
      >>> factor, _ = head.update(jnp.array([[3.0, 0.0], [0.0, 0.1]]), head.init(jnp.eye(2)))
      >>> print(jnp.abs(factor - jnp.eye(2)).max() < 1e-5)
      True
    """
    _check_options(scaling, output_axis)
    if isinstance(ns_steps, bool) or not isinstance(ns_steps, int) or ns_steps < 1:
        raise ValueError(
            f"ns_steps is how often the program iterates, an int of at least 1, not {ns_steps!r}."
        )
    settings = (("ns_steps", ns_steps), ("scale", (scaling, output_axis)))
    make = _StageMaker(_init_polar, _take_polar_factor, _check_polar, settings)
    hp = {"ns_coefficients": ns_coefficients, "ns_eps": ns_eps}
    return make_per_part(make, hp, vectors=("ns_coefficients",))


def normalize_neurons(
    b2: ScalarOrSchedule, eps: ScalarOrSchedule, scaling: Scaling, output_axis: Literal[-1, -2]
) -> Optimizer:
    """Return NorMuon's stage: give each output the size it has had, and the matrix its norm."""
    _check_options(scaling, output_axis)
    settings = (("scale", (scaling, output_axis)),)
    make = _StageMaker(_init_variance, _normalize, _check_neurons, settings)
    return make_per_part(make, {"b2": b2, "eps": eps})


class _StageMaker(NamedTuple):
    """A function from hyperparameters to a stage with these settings, which compares by value."""

    init: InitFn
    update: UpdateFn
    check: CheckFn
    settings: tuple[tuple[str, Any], ...]

    def __call__(self, **hp: Any) -> Optimizer:
        static = {name: Static(value) for name, value in self.settings}
        return transformation(self.init, self.update, {**hp, **static}, check=self.check)


def newton_schulz(x: jax.Array, table: jax.Array, eps: jax.Array) -> jax.Array:
    """Return nearly the polar factor of [..., m, n] matrices, by a table [steps, 3]."""
    tall = x.shape[-2] > x.shape[-1]
    x = _transpose(x) if tall else x
    x = x / (frobenius_norm(x) + eps).astype(x.dtype)
    # Unrolled, so that it has derivatives and maps over lanes.
    for a, b, c in table.astype(x.dtype):
        gram = x @ _transpose(x)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return _transpose(x) if tall else x


def frobenius_norm(x: jax.Array) -> jax.Array:
    """Return the norms of [..., m, n] matrices as [..., 1, 1]."""
    return safe_sqrt(jnp.sum((x.conj() * x).real, axis=(-2, -1), keepdims=True))


def _transpose(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, -2, -1).conj()


def _scale_of(shape: tuple[int, ...], scaling: Scaling, output_axis: int) -> float:
    outputs = shape[output_axis]
    inputs = shape[-3 - output_axis]
    scales = {
        None: 1.0,
        "keller": max(1.0, outputs / inputs) ** 0.5,
        "moonlight": 0.2 * max(outputs, inputs) ** 0.5,
    }
    return scales[scaling]


def _check_options(scaling: Any, output_axis: Any) -> None:
    if scaling not in ("keller", "moonlight", None):
        raise ValueError(f'scaling is "keller", "moonlight" or None, not {scaling!r}.')
    if output_axis not in (-1, -2):
        raise ValueError(f"output_axis is -1 (for x @ W) or -2 (for W @ x), not {output_axis!r}.")


def _check_polar(hp: Hyperparameters) -> None:
    check_number("ns_eps", hp["ns_eps"], "[0, inf)")
    value = hp["ns_coefficients"]
    if isinstance(value, tuple):
        _check_table((len(value),), hp["ns_steps"])
    elif isinstance(value, NUMBER):  # axes before the last may be a batch
        _check_table(jnp.shape(value)[-1:], hp["ns_steps"])


def _check_table(shape: tuple[int, ...], steps: int) -> None:
    if shape not in ((3,), (steps, 3)):
        raise ValueError(
            f"ns_coefficients has shape {shape}; give three numbers (a, b, c), or one row of them "
            f"for each of ns_steps = {steps} steps. A batch of them is mapped over by jax.vmap."
        )


def _check_neurons(hp: Hyperparameters) -> None:
    check_number("b2", hp["b2"], "[0, 1)")
    check_number("eps", hp["eps"], "[0, inf)")


def _init_polar(hp: Hyperparameters, params: PyTree) -> Any:
    _refuse_vectors(params)
    return stateless(hp, params)


def _refuse_vectors(params: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.ndim(leaf) < 2:
            raise ValueError(
                f"a polar factor is that of a matrix, but params{jax.tree_util.keystr(path)} has "
                f"shape {jnp.shape(leaf)}; give such arrays another optimizer, as in "
                "jm.muon(0.02, rest=jm.lift(optax.adam)(1e-3)), or use jm.partition."
            )


def _take_polar_factor(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    _refuse_vectors(updates)
    steps = hp["ns_steps"]
    table, eps = jnp.asarray(hp["ns_coefficients"]), as_hyperparameter("ns_eps", hp["ns_eps"])
    _check_table(table.shape, steps)
    table = jnp.broadcast_to(table, (steps, 3))

    def factor(update: Any) -> jax.Array:
        dtype = wide_dtype(update)
        numbers = (jnp.asarray(x, jnp.finfo(dtype).dtype) for x in (table, eps))
        scale, spec = _scale_of(update.shape, *hp["scale"]), jax.typeof(update).sharding.spec
        if not any(spec[-2:]):
            return scale * newton_schulz(jnp.asarray(update, dtype), *numbers)
        # The iteration needs whole matrices, so each device that holds a part makes all of them.
        whole = jax.sharding.reshard(update, PartitionSpec(*spec[:-2], None, None))
        polar = newton_schulz(jnp.asarray(whole, dtype), *numbers)
        return jax.sharding.reshard(scale * polar, PartitionSpec(*spec))

    return jax.tree.map(factor, updates), state


def _init_variance(hp: Hyperparameters, params: PyTree) -> PyTree:
    _refuse_vectors(params)
    inputs = -3 - hp["scale"][1]

    def zeros(leaf: Any) -> jax.Array:
        like = jnp.zeros_like(leaf, jnp.finfo(wide_dtype(leaf)).dtype)  # follows its sharding
        return jnp.sum(like, axis=inputs, keepdims=True)

    return jax.tree.map(zeros, params)


def _normalize(
    hp: Hyperparameters, updates: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    del params, extra
    b2, eps = (as_hyperparameter(name, hp[name]) for name in ("b2", "eps"))
    inputs = -3 - hp["scale"][1]

    def normalize(update: Any, variance: jax.Array) -> tuple[Any, jax.Array]:
        if update is None:  # a frozen leaf
            return None, variance
        decay, small = (jnp.asarray(x, variance.dtype) for x in (b2, eps))
        update = jnp.asarray(update, wide_dtype(update))
        mean = jnp.mean((update.conj() * update).real, axis=inputs, keepdims=True)
        variance = decay * variance + (1 - decay) * mean
        even = update / (safe_sqrt(variance) + small).astype(update.dtype)
        scale = _scale_of(update.shape, *hp["scale"])
        scale = scale * frobenius_norm(update) / (frobenius_norm(even) + small)
        return scale.astype(update.dtype) * even, variance

    return map_pairs(normalize, updates, state)
