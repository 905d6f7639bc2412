"""Many runs of small tables at once: in blocks that fit a cache, over devices, at full speed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

# XLA:CPU counts a whole table as the bytes of a gather, and so deals microseconds to threads.
CPU_OPTIONS = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}


def compile_lanes(
    function: Callable[..., Any],
    *,
    block: int = 500,
    devices: Sequence[Any] | None = None,
) -> Callable[..., Any]:
    """Compile ``function(**axes)`` of single numbers for arrays of them, one entry per lane.

    It is `vmap` with three differences, none of which changes a number: lanes run in blocks, for a
    step of 100,000 lanes would run through more tables than a cache holds; blocks are dealt to the
    devices; and on CPUs a pass of XLA is left out that costs small kernels up to six times.

    Args:
      function: Pure, of named scalars (and keys), such as a call of `q_learning`.
      block: Lanes that run in step.
      devices: By default the first one; `jax.devices()` for all.

    Returns:
      A function of named arrays [lanes, ...] that returns what `function` does, with that axis.

    Raises:
      ValueError: block is below 1, or (when called) there are no lanes, or axes differ in length.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxmom import rl
      >>> mdp = rl.random_mdp(jax.random.key(0), states=5, actions=2)
      >>> def final(beta, key):
      ...     return rl.q_learning(mdp, rl.lazy_momentum(0.01, beta), key, steps=64).q
      >>> keys = jax.random.split(jax.random.key(1), 3)
      >>> rl.compile_lanes(final)(beta=jnp.array([0.0, 0.5, 0.9]), key=keys).shape
      (3, 5, 2)
    """
    if block < 1:
        raise ValueError(f"block is at least 1 lane, got {block}.")
    chosen = list(jax.devices()[:1] if devices is None else devices)
    options = CPU_OPTIONS if chosen[0].platform == "cpu" else None

    def blocks(axes: dict[str, Any]) -> Any:
        lanes = _length(axes)
        if lanes <= block:
            return jax.vmap(lambda one: function(**one))(axes)
        return jax.lax.map(lambda one: function(**one), axes, batch_size=block)

    along = PartitionSpec("lanes")
    dealt = blocks
    if len(chosen) > 1:
        mesh = Mesh(np.array(chosen), ("lanes",))
        dealt = jax.shard_map(blocks, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)
    compiled = jax.jit(dealt, compiler_options=options)

    def run(**axes: Any) -> Any:
        lanes = _length(axes)
        short = -lanes % len(chosen)
        padded = jax.tree.map(lambda x: _padded(x, short), axes)
        with jax.default_device(chosen[0]):
            results = compiled(padded)
        return jax.tree.map(lambda x: x[:lanes], results) if short else results

    return run


def _padded(axis: Any, short: int) -> Any:
    """As many copies of the last lane as devices would wait for."""
    if not short:
        return jnp.asarray(axis)
    return jnp.concatenate([axis, jnp.repeat(axis[-1:], short, axis=0)])


def _length(axes: dict[str, Any]) -> int:
    lengths = {name: len(leaf) for name, axis in axes.items() for leaf in jax.tree.leaves(axis)}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"all axes need the same number of lanes, 1 at least; got {lengths}.")
    return next(iter(lengths.values()))
