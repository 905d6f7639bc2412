"""The random bits are those of the published generators."""

import jax.numpy as jnp

from jaxmom.rl._tabular import random_bits


def test_xoshiro_gives_the_published_numbers():
    """The first four from the state 1, 2, 3, 4, as the reference program has them."""
    state, numbers = tuple(jnp.uint32(n) for n in (1, 2, 3, 4)), []
    for _ in range(4):
        state, drawn = random_bits.draw_xoshiro(state)
        numbers.append(int(drawn))
    assert numbers == reference_xoshiro([1, 2, 3, 4], 4)
    assert numbers[0] == 641


def reference_xoshiro(s, count):
    mask, out = 2**32 - 1, []

    def turn(x, k):
        return ((x << k) | (x >> (32 - k))) & mask

    for _ in range(count):
        out.append((turn((s[0] + s[3]) & mask, 7) + s[0]) & mask)
        t = (s[1] << 9) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turn(s[3], 11)
    return out
