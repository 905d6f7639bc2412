"""The compiled program of a group of lanes: tracing, naming of outputs, compilation for a width."""

import contextlib
import dataclasses
import functools
import hashlib
import math
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import SingleDeviceSharding
from jax.tree_util import Partial
from numpy.typing import NDArray

from jaxmom.sweeps.compile.batching import (
    IN_TURN,
    LANES_LAST,
    OPTIONS,
    Outputs,
    batch_lanes,
)
from jaxmom.sweeps.compile.callbacks import digest_callbacks
from jaxmom.sweeps.compile.copies import calls_host, can_copy, copy_executable
from jaxmom.sweeps.compile.executables import (
    find_executable,
    keep_executable,
    program_key,
)
from jaxmom.sweeps.compile.lane_checks import (
    Arguments,
    check_draws,
    check_steps,
    describe_lanes,
    explain_types,
    warn_of_constants,
)
from jaxmom.sweeps.compile.lanes_last import UnsupportedPrimitive
from jaxmom.sweeps.compile.lapack import avoid_deadlock, deadlock_note
from jaxmom.sweeps.compile.outputs import (
    STEP,
    Output,
    PyTree,
    check_names,
    describe_output,
    is_key,
    name_outputs,
)
from jaxmom.sweeps.space.groups import Group

Arrays: TypeAlias = dict[str, NDArray[Any]]
# ``fn(**axes)`` returns a Trajectory, a dict of arrays, or both; see `jaxmom.sweep`.
SweptFn: TypeAlias = Callable[..., PyTree]


@dataclasses.dataclass(frozen=True, eq=False)
class TracedGroup:
    """The computation of the lanes of a group, traced once and not compiled.

    Attributes:
      data: The leaves of a function that is a `jax.tree_util.Partial`: arguments of the program
        that all lanes share, not constants in it.
      arguments: The shapes and dtypes of one lane's traced arguments, by name.
      outputs: By name, for one lane; ``step`` is the same in all of them.
      jaxpr: The program of one lane, as JAX traced it.
      positions: Where each output is among the results of the jaxpr.
    """

    group: Group
    data: tuple[Any, ...]
    arguments: Arguments
    outputs: dict[str, Output]
    jaxpr: Any
    positions: dict[str, int]

    def call(self, data: PyTree, arguments: Arguments) -> Outputs:
        """Return the outputs of one lane. The jaxpr is traced in half the time of the function."""
        results = jaxpr_as_fun(self.jaxpr)(*jax.tree.leaves((data, arguments)))
        return {name: results[position] for name, position in self.positions.items()}

    @functools.cached_property
    def key(self) -> Hashable:
        """What two groups share if and only if their programs of the same width are the same.

        Unlike the fingerprint it costs next to nothing, is of this process alone, and leaves out
        the values of the data, which are arguments of the program.
        """
        names = tuple(sorted(self.positions.items()))
        return names, jax.tree.structure(self.arguments), program_key(self.jaxpr)

    @functools.cached_property
    def text(self) -> str:
        """The program of a lane as text, the same in each process."""
        return drop_addresses(str(self.jaxpr))

    @property
    def result_bytes(self) -> int:
        """The bytes that are kept of one lane."""
        kept = (o for name, o in self.outputs.items() if name != STEP)
        return sum(np.dtype(o.dtype).itemsize * math.prod(o.shape) for o in kept)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the lowered program, its data and the host functions whose results it uses.

        It does not change with comments, names of variables or the process, but does with any
        number or operation.
        """
        lowered = jax.jit(self.call).trace(self.data, self.arguments).lower()
        digest = hashlib.sha256(drop_addresses(lowered.as_text()).encode())
        for leaf in self.data:
            array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        for callback in digest_callbacks(self.jaxpr):
            digest.update(callback.encode())
        return digest.hexdigest()


def drop_addresses(text: str) -> str:
    """Return the text of a program without addresses, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def trace_group(fn: SweptFn, group: Group, sample: Arguments) -> TracedGroup:
    """Run a function on abstract values, so that its errors come to light before anything runs.

    Args:
      fn: The function that is swept.
      group: The group of its lanes.
      sample: The traced arguments of some of them, by name.

    Raises:
      TypeError: The function returns neither a Trajectory nor a dict of arrays, or a random key.
      ValueError: The names or shapes of its outputs do not go together, with each other or with
        the axes; its records are at steps that depend on the lane; or it draws random bits that
        `jax.vmap` would draw for all lanes from one key.
    """
    leaves, tree = jax.tree.flatten(fn) if isinstance(fn, Partial) else ((), None)

    def run(data: PyTree, arguments: Arguments) -> PyTree:
        function = fn if tree is None else jax.tree.unflatten(tree, data)
        result = function(**group.static, **arguments)
        name_outputs(result)  # says what is wrong with it before JAX does
        return result

    arguments = {name: jax.tree.map(_abstract, sample[name]) for name in group.names}
    data = tuple(leaves)
    try:
        traced = jax.jit(run).trace(data, arguments)
    except Exception as error:
        error.add_note(f"This was while tracing lanes of {describe_lanes(group, arguments)}.")
        if isinstance(error, TypeError):
            for note in explain_types(arguments, data):
                error.add_note(note)
        raise
    named = name_outputs(traced.out_info)
    outputs = {name: describe_output(name, *named[name]) for name in sorted(named)}
    check_names(outputs, {*group.names, *group.static})
    out_tree = jax.tree.structure(traced.out_info)
    places = name_outputs(jax.tree.unflatten(out_tree, range(out_tree.num_leaves)))
    positions = {name: position for name, (position, _) in places.items()}
    check_draws(traced.jaxpr, len(data))
    check_steps(traced.jaxpr, positions, data, arguments)
    warn_of_constants(traced.jaxpr)
    return TracedGroup(group, data, arguments, outputs, traced.jaxpr, positions)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A group of lanes, compiled for so many at a time on one device.

    Attributes:
      group: What was compiled.
      width: Lanes at a time.
      device: Where it runs.
      compiled: The executable, ``compiled(data, columns) -> dict of arrays``.
      data: Those of the group, on the device.
      compile_seconds: What it took to compile it, in this process; 0 if that is not known.
      is_alone: Whether it could deadlock beside another one in this process.
      thread: Of those that start programs on its device, the number of the one that starts this.
    """

    group: TracedGroup
    width: int
    device: Any
    compiled: Any
    data: PyTree
    compile_seconds: float = 0.0
    is_alone: bool = False
    thread: int = 0

    def start(self, columns: Arguments) -> Outputs:
        """Dispatch a chunk of lanes; `finish` waits for it.

        Its columns are on the host: the executable takes them to its device in a quarter of the
        time that `jax.device_put` needs.
        """
        return self.compiled(self.data, columns)

    def finish(self, outputs: Outputs) -> Arrays:
        """Return the results on the host [width, ...]; `step` has no axis of lanes."""
        return {name: np.asarray(array) for name, array in outputs.items()}

    @property
    def bytes(self) -> int:
        """The memory that a chunk needs on the device, by the compiler's own account."""
        stats = self.compiled.memory_analysis()
        names = ("temp", "argument", "output", "alias")
        sizes = [getattr(stats, f"{name}_size_in_bytes", 0) for name in names]
        return sum(sizes[:3]) - sizes[3]


def count_lanes(columns: Arguments, width: int) -> int:
    """Return for how many lanes there are columns; the width if there is no column to count.

    Args:
      columns: The arguments of a chunk, by name; a group whose axes are all static has none.
      width: Of the group.
    """
    leaves = jax.tree.leaves(columns)
    return len(leaves[0]) if leaves else width


def compile_group(
    group: TracedGroup, width: int, devices: Sequence[Any], options: Mapping[str, Any]
) -> list[Program]:
    """Compile a group for chunks of `width` lanes, for each device.

    Each device has an executable of its own: XLA optimizes one that is divided among devices in
    other ways, so that the bits would depend on their number. On CPUs it is a copy of the first
    device's.

    Args:
      group: From `trace_group`.
      width: With the options, it decides the bits of a lane.
      devices: To run on. One that is there several times runs so many programs at a time, each
        started by a thread of its own: XLA runs what one thread starts on a CPU in turn. A program
        that could deadlock beside itself gets the first device and one thread only, and one that
        calls functions of the host has one thread.
      options: Of the program, as for `jaxmom.sweep`.

    Raises:
      UnsupportedPrimitive: Lanes are to be last in a program that has no rule for it.
      ValueError: The width is not a multiple of the block.
    """
    of_xla = {name: value for name, value in options.items() if name not in OPTIONS}
    in_turn = IN_TURN in options
    used, of_xla = avoid_deadlock(group.jaxpr, devices, of_xla, in_turn)
    distinct = list(dict.fromkeys(used))
    choice = width, repr(sorted({**options, **of_xla}.items()))
    found = {device: find_executable((group.key, choice, device)) for device in distinct}
    absent = [device for device in distinct if found[device] is None]
    if absent:
        start = time.perf_counter()
        made = _make_executables(group, width, absent, options, of_xla)
        seconds = time.perf_counter() - start
        for device, executable in zip(absent, made, strict=True):
            found[device] = executable, seconds
            keep_executable((group.key, choice, device), found[device])
    is_alone = deadlock_note(group.jaxpr, devices, in_turn) is not None
    programs = {
        device: Program(
            *(group, width, device, made, jax.device_put(group.data, device), seconds, is_alone)
        )
        for device, (made, seconds) in found.items()
    }
    in_one = is_alone or calls_host(group.jaxpr)
    threads = [0 if in_one else used[:i].count(device) for i, device in enumerate(used)]
    return [
        dataclasses.replace(programs[device], thread=thread)
        for device, thread in zip(used, threads, strict=True)
    ]


def missing_rule(group: TracedGroup) -> str | None:
    """Return the name of a primitive for which lanes last have no rule, or None if there is none.

    Args:
      group: From `trace_group`; it is traced as a chunk of two lanes, and not compiled.
    """
    call = _batch_group(group, 2, {LANES_LAST: 1})
    try:
        with _naming_turns():
            jax.eval_shape(call, group.data, _abstract_columns(group, 2))
    except UnsupportedPrimitive as error:
        return error.primitive
    return None


def can_batch(group: TracedGroup) -> bool:
    """Return whether `jax.vmap` has a rule for all that a lane does, calls of the host included.

    Args:
      group: From `trace_group`; it is traced as a chunk of two lanes, and not compiled.
    """
    try:
        jax.eval_shape(_batch_group(group, 2, {}), group.data, _abstract_columns(group, 2))
    except Exception:  # of any kind: a rule may be the user's
        return False
    return True


def _batch_group(
    group: TracedGroup, width: int, options: Mapping[str, Any]
) -> Callable[[PyTree, Arguments], Outputs]:
    """Return ``call(data, columns)`` for the lanes of one chunk."""
    lane = group.data, group.arguments
    return batch_lanes(group.call, lane, list(group.outputs), width, options)


def _make_executables(
    group: TracedGroup,
    width: int,
    devices: Sequence[Any],
    options: Mapping[str, Any],
    of_xla: Mapping[str, Any],
) -> list[Any]:
    """Compile a group for the first of some devices, and copy that for the others if possible."""
    call = _batch_group(group, width, options)
    count = 1 if can_copy(group.jaxpr, devices[0]) else len(devices)
    # Traced and lowered in this thread, whose settings may be its own.
    lowered = [_lower_for(device, group, call, width, of_xla) for device in devices[:count]]
    made = _compile_lowered(lowered, of_xla)
    return made + [copy_executable(made[0], device, of_xla) for device in devices[count:]]


def _lower_for(
    device: Any, group: TracedGroup, call: Callable[..., Outputs], width: int, of_xla: Any
) -> Any:
    """Return the program of a batched call on one device, ready to be compiled."""
    there = SingleDeviceSharding(device)
    program = jax.jit(call, in_shardings=there, out_shardings=there, compiler_options=of_xla)
    with _naming_turns():
        return program.lower(jax.device_put(group.data, device), _abstract_columns(group, width))


@contextlib.contextmanager
def _naming_turns() -> Iterator[None]:
    """Add to an error of `jax.vmap`, such as of a call of the host, that there is a way without."""
    try:
        yield
    except Exception as error:
        if "vmap" in str(error) and not isinstance(error, UnsupportedPrimitive):
            error.add_note(f'jm.sweep(..., options={{"{IN_TURN}": True}}) runs lanes without vmap.')
        raise


def _abstract_columns(group: TracedGroup, width: int) -> PyTree:
    """Return the shapes and dtypes of the arguments of so many lanes."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((width, *x.shape), x.dtype), group.arguments)


def _compile_lowered(lowered: Sequence[Any], of_xla: Mapping[str, Any]) -> list[Any]:
    """Compile programs, one of them in this thread and the others beside it.

    Raises:
      JaxRuntimeError: With a note on which options went to the compiler, if it does not know one
        of them.
    """
    try:
        with ThreadPoolExecutor(len(lowered)) as pool:
            others = [pool.submit(program.compile) for program in lowered[1:]]
            return [lowered[0].compile(), *(other.result() for other in others)]
    except (jax.errors.JaxRuntimeError, TypeError) as error:
        if "option" in str(error).lower():
            error.add_note(
                f"jm.sweep has the options {', '.join(map(repr, OPTIONS))}; {list(of_xla)} went to "
                "the compiler."
            )
        raise


def _abstract(column: NDArray[Any]) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of one lane's argument, as JAX will convert it."""
    dtype = jax.dtypes.canonicalize_dtype(column.dtype)
    return jax.ShapeDtypeStruct(column.shape[1:], dtype)
