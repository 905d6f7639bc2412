"""A process laid out for sampling with one random word per decision: uint32 in, branch out.

Where all probabilities are multiples of 1 / M, a pair has M equal slots, and the slot is the high
word of ``word * M``: off by less than 2^-32 M. Other probabilities become thresholds for the word.
"""

import dataclasses
import functools
import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxmom.rl.mdp import Mdp

MOST_SLOTS = 64  # more would cost more memory than the comparisons that they save
MOST_STARTS = 2**15
OVER = 1 << 30  # the bit of a packed next state that says that the episode is over
GOLDEN = 0x9E3779B9  # 2^32 times the golden ratio, without its whole part
SIXTY = 60  # the least common multiple of 1 to 6: ties among so many are broken by a table


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["packed", "reward", "thresholds", "starts", "start_thresholds", "breaker"],
    meta_fields=["states", "actions", "slots"],
)
@dataclasses.dataclass(frozen=True)
class Tables:
    """What `tables` makes of a process; arrays are flat, so that a step gathers by one index."""

    packed: Any  # int32 [S A M], the next state, with the bit OVER
    reward: Any  # [S A M]
    thresholds: Any  # uint32 [S A, M - 1], or None where the slots are equal
    starts: Any  # int32 [N]
    start_thresholds: Any  # uint32 [N - 1], or None where they are equally likely
    breaker: Any  # int32 [2^A SIXTY], of at most 6 actions; else None
    states: int
    actions: int
    slots: int  # M

    @property
    def words(self) -> int:
        """Random words that a step needs: for the action, for the branch, for a reset."""
        return 1 + (self.slots > 1) + (self.starts.shape[0] > 1)


def tables(mdp: Mdp, dtype: Any) -> Tables:
    """Lay out a process, with rewards of the given dtype.

    Raises:
      TypeError: The process is traced: its layout is decided on the host.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(mdp)):
        raise TypeError(
            "the process decides the layout of the compiled program, so it cannot be an argument "
            "of jit or vmap: close over it, and map over keys and numbers."
        )
    arrays = (mdp.next_state, mdp.probability, mdp.reward, mdp.terminated)
    following, probability, reward, over = map(np.asarray, arrays)
    order, thresholds = _slots(probability)
    pick = functools.partial(np.take_along_axis, indices=order, axis=-1)
    starts, start_thresholds = _starts(np.asarray(mdp.start))
    return Tables(
        (pick(following) | np.where(pick(over), OVER, 0)).astype(np.int32).ravel(),
        pick(reward).astype(dtype).ravel(),
        thresholds,
        starts,
        start_thresholds,
        _breaker(mdp.actions) if mdp.actions <= 6 else None,
        mdp.states,
        mdp.actions,
        order.shape[-1],
    )


def first(table: Tables, word: jax.Array) -> jax.Array:
    """A first state."""
    if table.start_thresholds is None:
        return jnp.asarray(table.starts)[high(word, table.starts.shape[0])]
    return jnp.asarray(table.starts)[_count(jnp.asarray(table.start_thresholds), word)]


def follow(
    table: Tables, state: jax.Array, action: jax.Array, word: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The next state, the reward, and whether the episode is over."""
    pair = state * table.actions + action
    if table.thresholds is None:
        branch = high(word, table.slots) if table.slots > 1 else jnp.zeros_like(pair)
    else:
        branch = _count(jnp.asarray(table.thresholds)[pair], word)
    at = pair * table.slots + branch
    packed = jnp.asarray(table.packed).at[at].get(mode="promise_in_bounds")
    reward = jnp.asarray(table.reward).at[at].get(mode="promise_in_bounds")
    return packed & (OVER - 1), reward, packed >= OVER


def choose(table: Tables, row: jax.Array, epsilon: jax.Array, word: jax.Array) -> jax.Array:
    """An action of an epsilon-greedy policy, with equal chances for equal values.

    One word serves twice: its size tells whether to explore, and its product with the golden ratio
    which of the admitted actions to take. Over any interval of words such products are as even as
    can be. There is no arithmetic on floats here that a compiler might round in its own way.
    """
    uniform = (word >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)  # exact
    admitted = (uniform < epsilon) | (row == jnp.max(row))
    spread = word * jnp.uint32(GOLDEN)
    if table.breaker is None:
        return _ranked(admitted, spread)
    powers = 1 << np.arange(table.actions, dtype=np.int32)
    bits = jnp.sum(jnp.where(admitted, powers, 0), dtype=jnp.int32)
    at = bits * SIXTY + high(spread, SIXTY)
    return jnp.asarray(table.breaker).at[at].get(mode="promise_in_bounds")


def high(word: jax.Array, n: int | jax.Array) -> jax.Array:
    """The high half of ``word * n``, n < 2^16: an integer in [0, n), without 64 bits."""
    upper, lower = word >> 16, word & 0xFFFF
    return ((upper * n + ((lower * n) >> 16)) >> 16).astype(jnp.int32)


def _ranked(admitted: jax.Array, spread: jax.Array) -> jax.Array:
    """The admitted action of a rank chosen by a word."""
    rank = high(spread, jnp.sum(admitted, dtype=jnp.uint32))
    return jnp.argmax(jnp.cumsum(admitted, dtype=jnp.int32) > rank).astype(jnp.int32)


def _breaker(actions: int) -> np.ndarray:
    """For every set of admitted actions, as bits, one of them for each sixtieth."""
    rows = np.zeros((2**actions, SIXTY), np.int32)
    for bits in range(1, 2**actions):
        chosen = [action for action in range(actions) if bits >> action & 1]
        rows[bits] = np.repeat(chosen, SIXTY // len(chosen))
    return rows.ravel()


def _slots(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The branch in every slot [S, A, M], and the thresholds between unequal ones [S A, M - 1]."""
    equal = _denominator(probability)
    if equal:
        ends = np.rint(np.cumsum(probability, axis=-1) * equal)
        return (ends[..., None] <= np.arange(equal)).sum(axis=-2), None
    # A pair's last branch of some weight stands in for those that only pad.
    branch = np.arange(probability.shape[-1])
    last = (branch * (probability > 0)).max(axis=-1, keepdims=True)
    bounds = _thresholds(probability)
    return np.minimum(branch, last), bounds.reshape(-1, bounds.shape[-1])


def _starts(start: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The first states, and the thresholds between them where they are not equally likely."""
    states = np.flatnonzero(start).astype(np.int32)
    weights = start[states]
    if np.allclose(weights, 1 / len(states), rtol=1e-9, atol=0) and len(states) <= MOST_STARTS:
        return states, None
    return states, _thresholds(weights)


def _thresholds(probability: np.ndarray) -> np.ndarray:
    cumulated = np.cumsum(probability, axis=-1)[..., :-1]
    return np.minimum(np.ceil(2.0**32 * cumulated), 2**32 - 1).astype(np.uint32)


def _denominator(probability: np.ndarray) -> int:
    """The least M of which all probabilities are multiples of 1 / M; 0 if that is too large."""
    common = 1
    for value in np.unique(probability):
        fraction = Fraction(float(value)).limit_denominator(MOST_SLOTS)
        common = math.lcm(common, fraction.denominator)
        if abs(float(fraction) - value) > 1e-12 or common > MOST_SLOTS:
            return 0
    return common


def _count(thresholds: jax.Array, word: jax.Array) -> jax.Array:
    return jnp.sum(word >= thresholds, dtype=jnp.int32)
