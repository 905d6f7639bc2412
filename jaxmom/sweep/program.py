"""The compiled program of a group of lanes: what goes in, what comes out, and at what width."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweep.factors import Group

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
class Lanes:
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


def trace(fn: Callable[..., Any], group: Group, sample: Arguments) -> Lanes:
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
    return Lanes(group, call, data, arguments, outputs, _fingerprint(traced, data))


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """`Lanes` compiled for so many at a time on each of some devices."""

    lanes: Lanes
    width: int
    devices: int
    compiled: Any
    data: Any
    sharding: NamedSharding

    def start(self, columns: Any) -> dict[str, jax.Array]:
        """Dispatch ``width * devices`` lanes; `finish` waits for them."""
        return self.compiled(self.data, jax.device_put(columns, self.sharding))

    def finish(self, outputs: dict[str, jax.Array]) -> list[Arrays]:
        """The results on the host, for each device its own lanes [width, ...]."""
        host = {name: np.asarray(array) for name, array in outputs.items()}
        shared = {_STEP: host.pop(_STEP)} if _STEP in host else {}
        parts = [slice(d * self.width, (d + 1) * self.width) for d in range(self.devices)]
        return [{name: array[part] for name, array in host.items()} | shared for part in parts]

    @property
    def bytes(self) -> int:
        """What it needs on each device, by the compiler's own account."""
        stats = self.compiled.memory_analysis()
        names = ("temp", "argument", "output", "alias")
        sizes = [getattr(stats, f"{name}_size_in_bytes", 0) for name in names]
        return sum(sizes[:3]) - sizes[3]


def compile_lanes(
    lanes: Lanes, width: int, devices: Sequence[Any], options: Mapping[str, Any]
) -> Program:
    """Compile a group for `width` lanes on each device.

    Args:
      lanes: From `trace`.
      width: It alone decides the bits of a lane; the number of devices does not.
      devices: The lanes are divided among them, and nothing is communicated.
      options: Of the compiler.
    """
    # Mesh has Auto axes; with the Explicit ones of jax.make_mesh, a scan under vmap is refused.
    mesh = Mesh(np.array(devices), ("lane",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("lane",), ()))
    out_axes = {name: None if name == _STEP else 0 for name in lanes.outputs}
    shardings = {name: whole if name == _STEP else split for name in lanes.outputs}
    program = jax.jit(
        jax.vmap(lanes.call, in_axes=(None, 0), out_axes=out_axes),
        in_shardings=(whole, split),
        out_shardings=shardings,
        compiler_options=dict(options),
    )
    total = width * len(devices)
    batched = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((total, *x.shape), x.dtype), lanes.arguments
    )
    compiled = program.lower(lanes.data, batched).compile()
    return Program(lanes, width, len(devices), compiled, jax.device_put(lanes.data, whole), split)


def _flat(result: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """A result as named arrays, and how many leading axes of each are records."""
    names = getattr(result, "_fields", ())
    if {"steps", "history", _BAD} <= set(names):
        history = _named(result.history)
        return history | {_STEP: result.steps, _BAD: result.diverged_at}, dict.fromkeys(history, 1)
    if not isinstance(result, Mapping):
        raise TypeError(
            f"the function returned {type(result).__name__}; a sweep needs a Trajectory of "
            'jm.optimize, or a dict of arrays such as {"value": run.history["value"][-1]}.'
        )
    reserved = {"status", "lane", _STEP} & set(result)
    if reserved:
        raise ValueError(f"the sweep itself makes {sorted(reserved)}; rename these outputs.")
    return _named(result), {}


def _named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths: ``{"params": {"w": x}}`` becomes "params.w"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _output(name: str, leaf: Any, records: int) -> Output:
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
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _told(group: Group, arguments: Any) -> str:
    traced = {
        name: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", x)
        for name, x in arguments.items()
    }
    return f"{group.labels | traced}"
