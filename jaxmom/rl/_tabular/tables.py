"""A process laid out for fast sampling: one draw of 32 random bits picks one branch.

Where all probabilities are multiples of 1 / M, a pair (state, action) has M equal slots, and the
slot is the high half of ``bits * M``; its probability is off by less than 2^-32 M. Other
probabilities become thresholds that the bits are compared with.
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

MAX_SLOTS = 64  # more would cost more memory than the comparisons that they save
MAX_EQUAL_STARTS = 2**15
MAX_ACTIONS = 2**16 - 1
TERMINAL_BIT = 1 << 30  # set in a packed next state where the branch ends the episode
GOLDEN_RATIO = 0x9E3779B9  # the fraction of the golden ratio, times 2^32
TIE_SLOTS = 60  # the least common multiple of 1 to 6: a table breaks ties among so many actions


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["next_state", "reward", "thresholds", "starts", "start_thresholds", "ties"],
    meta_fields=["states", "actions", "slots"],
)
@dataclasses.dataclass(frozen=True)
class Tables:
    """The result of `build_tables`; arrays are flat, so that a step gathers by one index."""

    next_state: Any  # int32 [S A M], with TERMINAL_BIT
    reward: Any  # [S A M]
    thresholds: Any  # uint32 [S A, M - 1], or None where the slots are equal
    starts: Any  # int32 [N]
    start_thresholds: Any  # uint32 [N - 1], or None where they are equally likely
    ties: Any  # int32 [2^A TIE_SLOTS] for at most 6 actions, else None
    states: int
    actions: int
    slots: int  # M

    @property
    def draws(self) -> int:
        """Draws of 32 bits that a step needs: for the action, the branch, the next start."""
        return 1 + (self.slots > 1) + (self.starts.shape[0] > 1)


def build_tables(mdp: Mdp, dtype: Any) -> Tables:
    """Lay out a process, with rewards of the given dtype.

    Raises:
      TypeError: The process is traced, but its layout is decided on the host.
      ValueError: There are too many actions for the arithmetic of 32 bits.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(mdp)):
        raise TypeError(
            "the process decides the layout of the compiled program, so it cannot be an argument "
            "of jit or vmap: close over it, and map over keys and numbers."
        )
    if mdp.actions > MAX_ACTIONS:
        raise ValueError(f"at most {MAX_ACTIONS} actions can be sampled, not {mdp.actions}.")
    arrays = (mdp.next_state, mdp.probability, mdp.reward, mdp.terminated)
    next_state, probability, reward, terminated = map(np.asarray, arrays)
    order, thresholds = _assign_slots(probability)
    pick = functools.partial(np.take_along_axis, indices=order, axis=-1)
    packed = pick(next_state) | np.where(pick(terminated), TERMINAL_BIT, 0)
    starts, start_thresholds = _assign_starts(np.asarray(mdp.start))
    return Tables(
        next_state=packed.astype(np.int32).ravel(),
        reward=pick(reward).astype(dtype).ravel(),
        thresholds=thresholds,
        starts=starts,
        start_thresholds=start_thresholds,
        ties=_tabulate_ties(mdp.actions) if mdp.actions <= 6 else None,
        states=mdp.states,
        actions=mdp.actions,
        slots=order.shape[-1],
    )


def sample_start(tables: Tables, bits: jax.Array) -> jax.Array:
    """Draw the first state of an episode."""
    starts = jnp.asarray(tables.starts)
    if tables.start_thresholds is None:
        return starts[multiply_high(bits, starts.shape[0])]
    return starts[_count_passed(jnp.asarray(tables.start_thresholds), bits)]


def sample_transition(
    tables: Tables, state: jax.Array, action: jax.Array, bits: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw the next state, the reward, and whether the episode terminates."""
    pair = state * tables.actions + action
    if tables.thresholds is not None:
        branch = _count_passed(jnp.asarray(tables.thresholds)[pair], bits)
    else:
        branch = multiply_high(bits, tables.slots) if tables.slots > 1 else jnp.zeros_like(pair)
    index = pair * tables.slots + branch
    packed = jnp.asarray(tables.next_state).at[index].get(mode="promise_in_bounds")
    reward = jnp.asarray(tables.reward).at[index].get(mode="promise_in_bounds")
    return packed & (TERMINAL_BIT - 1), reward, packed >= TERMINAL_BIT


def choose_action(tables: Tables, row: jax.Array, epsilon: jax.Array, bits: jax.Array) -> jax.Array:
    """Choose an action by an epsilon-greedy policy, with equal chances for equal values.

    One uint32 makes both decisions: its high bits decide exploration, and its hash picks the
    action. The hash is the product with the golden ratio: over any interval of integers such
    products are as even as can be. No compiler can round anything here in its own way.
    """
    uniform = (bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)  # exact
    admitted = (uniform < epsilon) | (row == jnp.max(row))
    hashed = bits * jnp.uint32(GOLDEN_RATIO)
    if tables.ties is None:
        return _choose_by_rank(admitted, hashed)
    powers = 1 << np.arange(tables.actions, dtype=np.int32)
    subset = jnp.sum(jnp.where(admitted, powers, 0), dtype=jnp.int32)
    index = subset * TIE_SLOTS + multiply_high(hashed, TIE_SLOTS)
    return jnp.asarray(tables.ties).at[index].get(mode="promise_in_bounds")


def multiply_high(bits: jax.Array, n: int | jax.Array) -> jax.Array:
    """Return the high half of ``bits * n``, an integer in [0, n), for n < 2^16, in 32 bits."""
    upper, lower = bits >> 16, bits & 0xFFFF
    return ((upper * n + ((lower * n) >> 16)) >> 16).astype(jnp.int32)


def _choose_by_rank(admitted: jax.Array, hashed: jax.Array) -> jax.Array:
    rank = multiply_high(hashed, jnp.sum(admitted, dtype=jnp.uint32))
    return jnp.argmax(jnp.cumsum(admitted, dtype=jnp.int32) > rank).astype(jnp.int32)


def _tabulate_ties(actions: int) -> np.ndarray:
    """For every subset of actions, as a bit mask: one of its members for each tie slot."""
    rows = np.zeros((2**actions, TIE_SLOTS), np.int32)
    for subset in range(1, 2**actions):
        members = [action for action in range(actions) if subset >> action & 1]
        rows[subset] = np.repeat(members, TIE_SLOTS // len(members))
    return rows.ravel()


def _assign_slots(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The branch in every slot [S, A, M], and the thresholds between unequal ones [S A, M - 1]."""
    slots = _common_denominator(probability)
    if slots:
        ends = np.rint(np.cumsum(probability, axis=-1) * slots)
        return (ends[..., None] <= np.arange(slots)).sum(axis=-2), None
    # Padding is never drawn: in its place stands the last branch of positive probability.
    branch = np.arange(probability.shape[-1])
    last = (branch * (probability > 0)).max(axis=-1, keepdims=True)
    thresholds = _to_thresholds(probability)
    return np.minimum(branch, last), thresholds.reshape(-1, thresholds.shape[-1])


def _assign_starts(start: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The first states, and the thresholds between them where they are not equally likely."""
    states = np.flatnonzero(start).astype(np.int32)
    weights = start[states]
    equal = np.allclose(weights, 1 / len(states), rtol=1e-9, atol=0)
    if equal and len(states) <= MAX_EQUAL_STARTS:
        return states, None
    return states, _to_thresholds(weights)


def _to_thresholds(probability: np.ndarray) -> np.ndarray:
    cumulated = np.cumsum(probability, axis=-1)[..., :-1]
    return np.minimum(np.ceil(2.0**32 * cumulated), 2**32 - 1).astype(np.uint32)


def _common_denominator(probability: np.ndarray) -> int:
    """The least M of which all probabilities are multiples of 1 / M; 0 if it is too large."""
    common = 1
    for value in np.unique(probability):
        fraction = Fraction(float(value)).limit_denominator(MAX_SLOTS)
        common = math.lcm(common, fraction.denominator)
        if abs(float(fraction) - value) > 1e-12 or common > MAX_SLOTS:
            return 0
    return common


def _count_passed(thresholds: jax.Array, bits: jax.Array) -> jax.Array:
    return jnp.sum(bits >= thresholds, dtype=jnp.int32)
