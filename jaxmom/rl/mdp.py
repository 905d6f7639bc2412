"""Finite Markov decision processes as arrays, with the step and the reset of Gymnasium."""

import dataclasses
import operator
from collections.abc import Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxmom.rl._checks import check_interval, read_number

# How far a sum of probabilities may be from 1: Gymnasium's own thirds are off by 1e-16.
PROBABILITY_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Mdp:
    """A finite decision process: K branches for each of A actions in each of S states.

    The branch says whether an episode ends, not the state that it leads to: Gymnasium gives its
    terminal states transitions too, but no episode takes them. The arrays are NumPy arrays in
    float64, so that planning is exact whatever JAX's default precision is.

    Attributes:
      next_state: [S, A, K] integers in [0, S).
      probability: [S, A, K], not negative, of sum 1 over the branches; 0 pads.
      reward: [S, A, K].
      terminated: [S, A, K] booleans: the branch ends the episode, and nothing follows it.
      start: [S] probabilities of the first state.
      time_limit: Steps after which an episode is truncated; None for no limit. Truncation is not
        part of the process: learning bootstraps there.
      grid: Rows and columns, if the states are cells of a grid, numbered row by row; else None.

    Raises:
      ValueError: Shapes do not agree, a state does not exist, a reward is not finite, or
        probabilities are negative or do not sum to 1. Traced arrays are checked for shapes only.

    Example:
      >>> from jaxmom import rl
      >>> stay_or_win = rl.Mdp(
      ...     next_state=[[[0], [0]]], probability=[[[1.0], [1.0]]], reward=[[[0.0], [1.0]]],
      ...     terminated=[[[False], [True]]], start=[1.0],
      ... )
      >>> stay_or_win.states, stay_or_win.actions, stay_or_win.branches
      (1, 2, 1)
    """

    next_state: Any
    probability: Any
    reward: Any
    terminated: Any
    start: Any
    time_limit: int | None = None
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, dtype in _FIELDS.items():
            object.__setattr__(self, name, _to_host(name, getattr(self, name), dtype))
        _check_shapes(self)
        _check_values(self)
        # Static parts of a pytree are compared and hashed, so they are plain numbers and tuples.
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", operator.index(self.time_limit))
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(map(operator.index, self.grid)))

    @property
    def states(self) -> int:
        """S."""
        return self.next_state.shape[-3]

    @property
    def actions(self) -> int:
        """A."""
        return self.next_state.shape[-2]

    @property
    def branches(self) -> int:
        """K, the number of branches of the pair that has the most."""
        return self.next_state.shape[-1]


_FIELDS = {
    "next_state": np.int32,
    "probability": np.float64,
    "reward": np.float64,
    "terminated": np.bool_,
    "start": np.float64,
}
_STATIC_FIELDS = ("time_limit", "grid")


def _flatten_mdp(mdp: Mdp) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(getattr(mdp, n) for n in _FIELDS), tuple(getattr(mdp, n) for n in _STATIC_FIELDS)


def _flatten_mdp_with_keys(mdp: Mdp) -> tuple[list[Any], tuple[Any, ...]]:
    leaves, static = _flatten_mdp(mdp)
    keys = map(jax.tree_util.GetAttrKey, _FIELDS)
    return list(zip(keys, leaves, strict=True)), static


def _unflatten_mdp(static: tuple[Any, ...], leaves: Iterable[Any]) -> Mdp:
    # JAX puts tracers, batches and placeholders in the place of arrays, so nothing is checked.
    mdp = object.__new__(Mdp)
    for name, value in zip((*_FIELDS, *_STATIC_FIELDS), (*leaves, *static), strict=True):
        object.__setattr__(mdp, name, value)
    return mdp


jax.tree_util.register_pytree_with_keys(
    Mdp, _flatten_mdp_with_keys, _unflatten_mdp, flatten_func=_flatten_mdp
)


def step(
    mdp: Mdp, state: ArrayLike, action: ArrayLike, uniform: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Take one step as Gymnasium does, with the uniform number that it would draw.

    Args:
      mdp: The process.
      state: An integer scalar.
      action: An integer scalar.
      uniform: A scalar in [0, 1): the branch is the first whose cumulative probability exceeds it.

    Returns:
      The next state, the reward, and whether the episode terminates.

    Raises:
      ValueError: An argument is out of its interval, or is not a scalar: use `jax.vmap` for a batch
        of steps.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> state, reward, terminated = rl.step(mdp, 0, 1, 0.5)
      >>> print(terminated)
      False
    """
    _check_scalars(state, action, uniform)
    check_interval("state", state, 0, mdp.states, is_open=True)
    check_interval("action", action, 0, mdp.actions, is_open=True)
    check_interval("uniform", uniform, 0, 1, is_open=True)
    # Indices of several dtypes are refused by JAX 0.8 under strict promotion.
    cell = tuple(jnp.asarray(number).astype(jnp.int32) for number in (state, action))
    branch = _first_above(jnp.asarray(mdp.probability)[cell], uniform)
    arrays = (mdp.next_state, mdp.reward, mdp.terminated)
    next_state, reward, terminated = (jnp.asarray(x)[*cell, branch] for x in arrays)
    return next_state, reward, terminated


def reset(mdp: Mdp, uniform: ArrayLike) -> jax.Array:
    """Draw the first state of an episode as Gymnasium does from one uniform number.

    Args:
      mdp: The process.
      uniform: A scalar in [0, 1).

    Returns:
      The state, int32 [].

    Raises:
      ValueError: `uniform` is out of its interval, or is not a scalar: use `jax.vmap` for a batch
        of episodes.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> print(rl.reset(rl.random_mdp(jax.random.key(0), states=5, actions=2), 0.5))
      2
    """
    _check_scalars(uniform)
    check_interval("uniform", uniform, 0, 1, is_open=True)
    return _first_above(jnp.asarray(mdp.start), uniform)


def check_mdp(mdp: Any) -> None:
    """Raise TypeError unless an argument is an `Mdp`."""
    if not isinstance(mdp, Mdp):
        raise TypeError(
            f"the process is an rl.Mdp, not a {type(mdp).__name__}; rl.from_gymnasium makes one "
            "from an environment."
        )


def _check_scalars(*numbers: ArrayLike) -> None:
    chex.assert_rank(
        numbers,
        0,
        custom_message="This function is for one step of one episode; use jax.vmap for a batch.",
        exception_type=ValueError,
    )


def _first_above(probability: jax.Array, uniform: ArrayLike) -> jax.Array:
    # Where rounding leaves the sum below the uniform number, this is 0, as it is in Gymnasium.
    return jnp.argmax(jnp.cumsum(probability) > uniform).astype(jnp.int32)


def _to_host(name: str, value: Any, dtype: Any) -> Any:
    """Return an array as NumPy's, in its dtype; a tracer as it is."""
    if isinstance(value, Tracer):
        return value
    given = np.asarray(value)
    array = given.astype(dtype)
    if dtype in (np.int32, np.bool_) and not (array == given).all():
        raise ValueError(f"{name} holds {'integers' if dtype is np.int32 else 'booleans'} only.")
    return array


def _check_shapes(mdp: Mdp) -> None:
    shape = mdp.next_state.shape
    arrays = (mdp.probability, mdp.reward, mdp.terminated)
    if len(shape) != 3 or any(x.shape != shape for x in arrays):
        raise ValueError(
            "next_state, probability, reward and terminated are all [states, actions, branches]; "
            f"got {shape}, {', '.join(str(x.shape) for x in arrays)}."
        )
    if 0 in shape:
        raise ValueError(f"a process needs a state, an action and a branch; got {shape}.")
    if mdp.start.shape != shape[:1]:
        raise ValueError(f"start has one probability per state, {shape[:1]}, not {mdp.start.shape}")
    limit = mdp.time_limit
    if limit is not None and not (hasattr(limit, "__index__") and operator.index(limit) >= 1):
        raise ValueError(f"time_limit is an integer of at least 1, or None; got {limit}.")


def _check_values(mdp: Mdp) -> None:
    next_state, reward = read_number(mdp.next_state), read_number(mdp.reward)
    if next_state is not None and not ((next_state >= 0) & (next_state < mdp.states)).all():
        raise ValueError(f"next_state must be in [0, {mdp.states}), the indices of the states.")
    for name in ("probability", "start"):
        probability = read_number(getattr(mdp, name))
        if probability is not None:
            check_probabilities(name, probability)
    if reward is not None and not np.isfinite(reward).all():
        raise ValueError("every reward must be finite.")


def check_probabilities(
    name: str, probability: np.ndarray, tolerance: float = PROBABILITY_TOLERANCE
) -> None:
    """Raise ValueError unless the entries along the last axis are not negative and sum to 1."""
    if not (probability >= 0).all():
        raise ValueError(f"{name} has entries that are negative or NaN.")
    sums = probability.sum(axis=-1)
    wrong = np.argwhere(np.abs(np.atleast_1d(sums) - 1) > tolerance)
    if wrong.size:
        index = tuple(wrong[0].tolist())
        names = {0: "", 1: f" at state {index[0]}", 2: f" at (state, action) = {index}"}
        where = names[sums.ndim]
        raise ValueError(
            f"{name} sums to {np.atleast_1d(sums)[index]:.6g}{where}, not to 1; entries that "
            "only pad are 0."
        )
