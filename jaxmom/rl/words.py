"""Random words for the steps of a run: word number t is the same, however the run is cut."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

Rng: TypeAlias = Literal["threefry", "xoshiro"]
BLOCK = 16  # steps whose words are drawn by one call


def block(key: jax.Array, number: jax.Array, words: int) -> jax.Array:
    """The words of steps 16 n to 16 n + 15, uint32 [16, words]: JAX's own generator."""
    return jax.random.bits(jax.random.fold_in(key, number), (BLOCK, words), jnp.uint32)


def seeded(key: jax.Array) -> tuple[jax.Array, ...]:
    """The four words of a xoshiro128++ generator; they are zero together once in 2^128 keys."""
    bits = jax.random.bits(key, (4,), jnp.uint32)
    return tuple(bits[i] for i in range(4))


def xoshiro(state: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """The next word of xoshiro128++: a few shifts, where threefry needs twenty rounds.

    Source: Blackman and Vigna 2021 (ACM TOMS 47), xoshiro128++ 1.0.
    """
    a, b, c, d = state
    word = _rotated(a + d, 7) + a
    shifted = b << 9
    c, d = c ^ a, d ^ b
    b, a = b ^ c, a ^ d
    return (a, b, c ^ shifted, _rotated(d, 11)), word


def several(state: Any, count: int) -> tuple[Any, list[jax.Array]]:
    """The next `count` words of xoshiro128++."""
    drawn = []
    for _ in range(count):
        state, word = xoshiro(state)
        drawn.append(word)
    return state, drawn


def walk(
    step: Callable[..., Any], rng: Rng, words: int, key: jax.Array
) -> tuple[Any, Callable[..., Any]]:
    """Scans that feed ``step(carry, words, count, ours) -> carry`` with its words.

    A step that is not `ours` shall change nothing: it was drawn only because its block was.

    Returns:
      The first state of the generator, and ``advance(carry, state, start, steps, aligned)``, which
      takes the steps that `start` (traced) and `steps` (static) say, and returns carry and state.
    """
    if rng == "xoshiro":
        return seeded(key), _by_steps(step, words)
    return (), _by_blocks(step, words, key)


def _by_steps(step: Callable[..., Any], words: int) -> Callable[..., Any]:
    def advance(carry: Any, state: Any, start: jax.Array, steps: int, aligned: bool) -> Any:
        del aligned

        def body(both: Any, count: jax.Array) -> tuple[Any, None]:
            state, drawn = several(both[1], words)
            return (step(both[0], drawn, count, True), state), None

        counts = start + jnp.arange(steps, dtype=jnp.int32)
        return jax.lax.scan(body, (carry, state), counts)[0]

    return advance


def _by_blocks(step: Callable[..., Any], words: int, key: jax.Array) -> Callable[..., Any]:
    def advance(carry: Any, state: Any, start: jax.Array, steps: int, aligned: bool) -> Any:
        """Whole blocks; where the steps begin or end within one, the others are passed over."""

        def one(carry: Any, given: Any) -> tuple[Any, None]:
            count, drawn = given
            ours = aligned or ((count >= start) & (count < start + steps))
            return step(carry, [drawn[i] for i in range(words)], count, ours), None

        def body(carry: Any, number: jax.Array) -> tuple[Any, None]:
            counts = number * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)
            return jax.lax.scan(one, carry, (counts, block(key, number, words)))[0], None

        blocks = steps // BLOCK if aligned else -(-steps // BLOCK) + 1
        numbers = start // BLOCK + jnp.arange(blocks, dtype=jnp.int32)
        return jax.lax.scan(body, carry, numbers)[0], state

    return advance


def _rotated(word: jax.Array, bits: int) -> jax.Array:
    return (word << bits) | (word >> (32 - bits))
