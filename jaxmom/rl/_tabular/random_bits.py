"""Random bits for every step of a rollout; step t gets the same bits however a run is cut."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmom.transform import PyTree

Rng: TypeAlias = Literal["threefry", "xoshiro"]
XoshiroState: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # uint32 [], each
GeneratorState: TypeAlias = XoshiroState | tuple[()]  # threefry needs no state but the key

# (carry, bits of this step, step count, whether the step is active) -> carry
StepFn: TypeAlias = Callable[[PyTree, Sequence[jax.Array], jax.Array, ArrayLike], PyTree]
# (carry, generator state, first step, number of steps, whether both are multiples of the block)
AdvanceFn: TypeAlias = Callable[
    [PyTree, GeneratorState, jax.Array, int, bool], tuple[PyTree, GeneratorState]
]

BLOCK_SIZE = 16  # steps whose bits are drawn by one call


def draw_block(key: jax.Array, block: jax.Array, draws: int) -> jax.Array:
    """Draw the bits of one block of 16 steps by JAX's own generator: uint32 [16, draws]."""
    return jax.random.bits(jax.random.fold_in(key, block), (BLOCK_SIZE, draws), jnp.uint32)


def seed_xoshiro(key: jax.Array) -> XoshiroState:
    """Draw the state of a xoshiro128++ generator; all of it is zero for one key in 2^128."""
    bits = jax.random.bits(key, (4,), jnp.uint32)
    return bits[0], bits[1], bits[2], bits[3]


def draw_xoshiro(state: XoshiroState) -> tuple[XoshiroState, jax.Array]:
    """Draw the next 32 bits of xoshiro128++: a few shifts, where threefry needs twenty rounds.

    Source: Blackman and Vigna 2021 (ACM TOMS 47), xoshiro128++ 1.0.
    """
    a, b, c, d = state
    bits = _rotate_left(a + d, 7) + a
    shifted = b << 9
    c, d = c ^ a, d ^ b
    b, a = b ^ c, a ^ d
    return (a, b, c ^ shifted, _rotate_left(d, 11)), bits


def make_scan(
    step: StepFn, rng: Rng, draws: int, key: jax.Array
) -> tuple[GeneratorState, AdvanceFn]:
    """Make a scan that feeds each step its random bits.

    Args:
      step: ``step(carry, bits, count, active) -> carry``. Inactive steps only pad a block of 16;
        they must leave the carry unchanged.
      rng: "threefry" draws a block of steps at a time; "xoshiro" carries its own state.
      draws: Draws of 32 bits that a step needs.
      key: A JAX key.

    Returns:
      The first state of the generator, and ``advance(carry, state, start, steps, aligned)``, which
      runs `steps` (static) steps from step `start` (traced) on and returns carry and state.
      `aligned` states that both are multiples of the block, so that no padding is needed.
    """
    if rng == "xoshiro":
        return seed_xoshiro(key), _scan_steps(step, draws)
    return (), _scan_blocks(step, draws, key)


def _scan_steps(step: StepFn, draws: int) -> AdvanceFn:
    def advance(carry, state, start, steps, aligned):
        del aligned

        def body(both, count):
            carry, state = both
            bits = []
            for _ in range(draws):
                state, drawn = draw_xoshiro(state)
                bits.append(drawn)
            return (step(carry, bits, count, True), state), None

        counts = start + jnp.arange(steps, dtype=jnp.int32)
        return jax.lax.scan(body, (carry, state), counts)[0]

    return advance


def _scan_blocks(step: StepFn, draws: int, key: jax.Array) -> AdvanceFn:
    def advance(carry, state, start, steps, aligned):
        def body(carry, given):
            count, bits = given
            active = aligned or ((count >= start) & (count < start + steps))
            return step(carry, [bits[i] for i in range(draws)], count, active), None

        def scan_block(carry, block):
            counts = block * BLOCK_SIZE + jnp.arange(BLOCK_SIZE, dtype=jnp.int32)
            return jax.lax.scan(body, carry, (counts, draw_block(key, block, draws)))[0], None

        # Where the steps begin or end inside a block, whole blocks run and the rest is inactive.
        blocks = steps // BLOCK_SIZE if aligned else -(-steps // BLOCK_SIZE) + 1
        numbers = start // BLOCK_SIZE + jnp.arange(blocks, dtype=jnp.int32)
        return jax.lax.scan(scan_block, carry, numbers)[0], state

    return advance


def _rotate_left(bits: jax.Array, by: int) -> jax.Array:
    return (bits << by) | (bits >> (32 - by))
