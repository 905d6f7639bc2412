"""Finite Markov decision processes as arrays, with the step and the reset of Gymnasium."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# How far a sum of probabilities may be from 1: Gymnasium's own thirds are off by 1e-16.
PROBABILITY_TOLERANCE = 1e-6


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["next_state", "probability", "reward", "terminated", "start"],
    meta_fields=["time_limit", "grid"],
)
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
        probabilities are negative or do not sum to 1.

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
        dtypes = (np.int32, np.float64, np.float64, np.bool_, np.float64)
        for field, dtype in zip(dataclasses.fields(self)[:5], dtypes, strict=True):
            value = getattr(self, field.name)
            # Inside JAX's transformations, leaves are tracers, batches or placeholders.
            if not isinstance(value, np.ndarray | list | tuple):
                return
            object.__setattr__(self, field.name, np.asarray(value, dtype))
        _check_mdp(self)

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


def step(
    mdp: Mdp, state: ArrayLike, action: ArrayLike, uniform: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Take one step as Gymnasium does, with the uniform number that it would draw.

    Args:
      mdp: The process.
      state: An integer scalar.
      action: An integer scalar.
      uniform: A scalar in [0, 1): the branch is the first whose cumulated probability exceeds it.

    Returns:
      The next state, the reward, and whether the episode terminates.

    Raises:
      ValueError: An argument is not a scalar: use `jax.vmap` for a batch of steps.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> state, reward, terminated = rl.step(mdp, 0, 1, 0.5)
      >>> print(terminated)
      False
    """
    _check_scalars(state, action, uniform)
    branch = _first_above(jnp.asarray(mdp.probability)[state, action], uniform)
    arrays = (mdp.next_state, mdp.reward, mdp.terminated)
    next_state, reward, terminated = (jnp.asarray(x)[state, action, branch] for x in arrays)
    return next_state, reward, terminated


def reset(mdp: Mdp, uniform: ArrayLike) -> jax.Array:
    """Draw the first state of an episode as Gymnasium does from one uniform number.

    Args:
      mdp: The process.
      uniform: A scalar in [0, 1).

    Returns:
      The state, int32 [].

    Raises:
      ValueError: `uniform` is not a scalar: use `jax.vmap` for a batch of episodes.

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> print(rl.reset(rl.random_mdp(jax.random.key(0), states=5, actions=2), 0.5))
      2
    """
    _check_scalars(uniform)
    return _first_above(jnp.asarray(mdp.start), uniform)


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


def _check_mdp(mdp: Mdp) -> None:
    shape = mdp.next_state.shape
    arrays = (mdp.probability, mdp.reward, mdp.terminated)
    if len(shape) != 3 or any(x.shape != shape for x in arrays):
        raise ValueError(
            "next_state, probability, reward and terminated are all [states, actions, branches]; "
            f"got {shape}, {', '.join(str(x.shape) for x in arrays)}."
        )
    if mdp.start.shape != shape[:1]:
        raise ValueError(f"start has one probability per state, {shape[:1]}, not {mdp.start.shape}")
    if mdp.next_state.min() < 0 or mdp.next_state.max() >= shape[0]:
        raise ValueError(
            f"next_state must be in [0, {shape[0]}), because there are so many states."
        )
    _check_probabilities("probability", mdp.probability)
    _check_probabilities("start", mdp.start)
    if not np.isfinite(mdp.reward).all():
        raise ValueError("every reward must be finite.")
    if mdp.time_limit is not None and mdp.time_limit < 1:
        raise ValueError(f"time_limit is at least 1, or None for no limit; got {mdp.time_limit}.")


def _check_probabilities(name: str, probability: np.ndarray) -> None:
    if not (probability >= 0).all():
        raise ValueError(f"{name} has entries that are negative or NaN.")
    sums = probability.sum(axis=-1)
    wrong = np.argwhere(np.abs(np.atleast_1d(sums) - 1) > PROBABILITY_TOLERANCE)
    if wrong.size:
        index = tuple(wrong[0].tolist())
        where = f" at (state, action) = {index}" if sums.ndim else ""
        raise ValueError(
            f"{name} sums to {np.atleast_1d(sums)[index]:.6g}{where}, not to 1: give the branches "
            "all of the weight, and 0 to those that only pad."
        )
