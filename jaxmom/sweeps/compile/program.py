"""The compiled program of a group of lanes: what goes in, what comes out, and at what width."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweeps.compile.lanes_last import lanes_last
from jaxmom.sweeps.space.components import Group

# Options that are ours and not the compiler's; `jaxmom.sweep` tells what they do.
LANES_LAST, BLOCK = "lanes_last", "block"
_STEP = "step"  # the dimension of the records of a Trajectory, and what `steps` becomes
_BAD = "diverged_at"

Arrays = dict[str, NDArray[Any]]
Arguments = dict[str, Any]  # name -> pytree of arrays, of one lane or of several


class Output(NamedTuple):
    """One array of the result, for one lane."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True, eq=False)
class TracedGroup:
    """What the lanes of a group compute, traced once and not compiled.

    Attributes:
      call: ``call(data, arguments) -> dict of arrays`` for one lane.
      data: The leaves of a function that is a `jax.tree_util.Partial`: arguments of the program
        that all lanes share, not constants in it.
      arguments: The shapes and dtypes of one lane's traced arguments, by name.
      outputs: By name, for one lane; ``step`` is the same in all of them.
      fingerprint: Of the computation and its data: it does not change with comments, names of
        variables or the process, but does with any number or operation.
    """

    group: Group
    call: Callable[[Any, Any], dict[str, jax.Array]]
    data: tuple[Any, ...]
    arguments: Any
    outputs: dict[str, Output]
    fingerprint: str

    @property
    def result_bytes(self) -> int:
        """What one lane keeps."""
        kept = (o for name, o in self.outputs.items() if name != _STEP)
        return sum(np.dtype(o.dtype).itemsize * math.prod(o.shape) for o in kept)


def trace(fn: Callable[..., Any], group: Group, sample: Arguments) -> TracedGroup:
    """Run a function on abstract values, so that what is wrong with it comes to light at once.

    Args:
      fn: What is swept.
      group: Of the lanes.
      sample: The traced arguments of some of them, by name.

    Raises:
      TypeError: It returns neither a Trajectory nor a dict of arrays.
      ValueError: An output has the name of an axis.
    """
    leaves, tree = jax.tree.flatten(fn) if isinstance(fn, Partial) else ((), None)
    dims: dict[str, int] = {}

    def call(data: Any, arguments: Any) -> dict[str, jax.Array]:
        function = fn if tree is None else jax.tree.unflatten(tree, data)
        outputs, leading = _flat(function(**group.static, **arguments))
        dims.update(dict.fromkeys(outputs, 0) | leading)
        return outputs

    arguments = {name: jax.tree.map(_abstract, sample[name]) for name in group.names}
    data = tuple(leaves)
    try:
        traced = jax.jit(call).trace(data, arguments)
    except Exception as error:
        error.add_note(f"This was while tracing lanes of {_told(group, arguments)}.")
        raise
    outputs = {n: _output(n, o, dims[n]) for n, o in sorted(traced.out_info.items())}
    clash = sorted(set(outputs) & {*group.names, *group.static})
    if clash:
        raise ValueError(f"the outputs {clash} have names of axes; rename them.")
    return TracedGroup(group, call, data, arguments, outputs, _fingerprint(traced, data))


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """`Lanes` compiled for so many at a time on one device."""

    lanes: TracedGroup
    width: int
    device: Any
    compiled: Any
    data: Any

    def start(self, columns: Arguments) -> dict[str, jax.Array]:
        """Dispatch a chunk of lanes; `finish` waits for it."""
        return self.compiled(self.data, jax.device_put(columns, self.device))

    def finish(self, outputs: dict[str, jax.Array]) -> Arrays:
        """The results on the host [width, ...]."""
        return {name: np.asarray(array) for name, array in outputs.items()}

    @property
    def bytes(self) -> int:
        """What it needs on the device, by the compiler's own account."""
        stats = self.compiled.memory_analysis()
        names = ("temp", "argument", "output", "alias")
        sizes = [getattr(stats, f"{name}_size_in_bytes", 0) for name in names]
        return sum(sizes[:3]) - sizes[3]


def compile_group(
    lanes: TracedGroup, width: int, devices: Sequence[Any], options: Mapping[str, Any]
) -> list[Program]:
    """Compile a group for chunks of `width` lanes, once for each device.

    Each device has a program of its own: XLA optimizes one that is divided among devices in other
    ways, so that the bits would depend on their number.

    Args:
      lanes: From `trace`.
      width: With the options, it decides the bits of a lane.
      devices: To run on.
      options: Of the program, as for `jaxmom.sweep`.

    Raises:
      Unsuited: Lanes are to be last in a program that wants them first.
      ValueError: The width is no multiple of the block.
    """
    call = _chunk(lanes, width, options)
    of_xla = {name: value for name, value in options.items() if name not in (LANES_LAST, BLOCK)}
    columns = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((width, *x.shape), x.dtype), lanes.arguments
    )
    lowered, shared = [], []
    for device in devices:
        there = SingleDeviceSharding(device)
        program = jax.jit(call, in_shardings=there, out_shardings=there, compiler_options=of_xla)
        shared.append(jax.device_put(lanes.data, device))
        lowered.append(program.lower(shared[-1], columns))
    with ThreadPoolExecutor(len(devices)) as pool:
        others = [pool.submit(program.compile) for program in lowered[1:]]
        compiled = [lowered[0].compile(), *(other.result() for other in others)]
    programs = zip(devices, compiled, shared, strict=True)
    return [Program(lanes, width, *program) for program in programs]


def _chunk(lanes: TracedGroup, width: int, options: Mapping[str, Any]) -> Callable[..., Any]:
    """``call(data, columns) -> dict of arrays`` for the lanes of one chunk."""
    block = int(options.get(BLOCK, width))
    if block < 1 or width % block:
        raise ValueError(f"a chunk of width {width} has no whole number of blocks of {block}.")
    out_axes: dict[str, int | None] = {n: None if n == _STEP else 0 for n in lanes.outputs}
    call = jax.vmap(lanes.call, in_axes=(None, 0), out_axes=out_axes, axis_size=block)
    if LANES_LAST in options:
        unroll = int(options[LANES_LAST])
        call = lanes_last(lanes.call, lanes.data, lanes.arguments, out_axes, block, unroll)
    if block == width:
        return call

    def in_turn(data: Any, columns: Any) -> dict[str, jax.Array]:
        blocks = jax.tree.map(lambda x: x.reshape(-1, block, *x.shape[1:]), columns)
        turns = width // block
        _, results = jax.lax.scan(lambda _, x: (None, call(data, x)), None, blocks, length=turns)
        return {
            name: x[0] if out_axes[name] is None else x.reshape(width, *x.shape[2:])
            for name, x in results.items()
        }

    return in_turn


def is_run(value: Any) -> bool:
    """Whether this is a `Trajectory`."""
    return {"steps", "history", _BAD} <= set(getattr(value, "_fields", ()))


def is_key(leaf: Any) -> bool:
    """Whether this is an array of typed random keys."""
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _flat(result: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """A result as named arrays, and how many leading axes of each are records."""
    if is_run(result):
        history = _named(result.history)
        return history | {_STEP: result.steps, _BAD: result.diverged_at}, dict.fromkeys(history, 1)
    if not isinstance(result, Mapping):
        raise TypeError(
            f"the function returned {type(result).__name__}; a sweep needs a Trajectory of "
            'jm.optimize, or a dict of arrays such as {"value": run.history["value"][-1]}.'
        )
    if not jax.tree.leaves(result):
        raise ValueError("the function returned no arrays; there is nothing to keep of its lanes.")
    reserved = {"status", "lane", _STEP} & set(result)
    if reserved:
        raise ValueError(f"the sweep itself makes {sorted(reserved)}; rename these outputs.")
    return _named(result), {}


def _named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths: ``{"params": {"w": x}}`` becomes "params.w"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _output(name: str, leaf: Any, records: int) -> Output:
    if is_key(leaf):
        raise TypeError(
            f"the output {name!r} is a random key, which no file keeps; return "
            "jax.random.key_data of it."
        )
    inner = (f"{name}_{axis}" for axis in range(len(leaf.shape) - records))
    dims = (_STEP,) if name == _STEP else (*[_STEP] * records, *inner)
    return Output(dims, tuple(leaf.shape), str(leaf.dtype))


def _abstract(column: NDArray[Any]) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(column.dtype)
    return jax.ShapeDtypeStruct(column.shape[1:], dtype)


def _fingerprint(traced: Any, data: Any) -> str:
    """A digest of the lowered program, without what differs from process to process."""
    text = re.sub(r" at 0x[0-9a-f]+", "", traced.lower().as_text())
    digest = hashlib.sha256(text.encode())
    for leaf in data:
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _told(group: Group, arguments: Any) -> str:
    traced = {
        name: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", x)
        for name, x in arguments.items()
    }
    return f"{group.labels | traced}"
