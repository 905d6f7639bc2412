"""Estimates of a sweep before it runs: lanes, groups, chunks, bytes and seconds."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxmom._choices import check_flag
from jaxmom.sweeps.compile.autotune import Autotuner, Probe
from jaxmom.sweeps.compile.batching import BLOCK, IN_TURN, LANES_LAST, NARROW
from jaxmom.sweeps.compile.choices import Choice, count_cores
from jaxmom.sweeps.compile.first_choice import default_options
from jaxmom.sweeps.compile.options import check_options
from jaxmom.sweeps.compile.program import SweptFn, TracedGroup, trace_group
from jaxmom.sweeps.compile.watchdog import Dispatcher, StalledError, describe_stall
from jaxmom.sweeps.compile.widths import plan_widths
from jaxmom.sweeps.results.checks import check_result
from jaxmom.sweeps.space.groups import group_key
from jaxmom.sweeps.space.index_maps import as_index, ceil_div
from jaxmom.sweeps.space.space import Space, check_space


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cost of a sweep, as `explain` estimates it; ``print`` shows it.

    Attributes:
      lanes: The number of lanes.
      groups: The number of programs to compile.
      width: Lanes at a time on each device.
      devices: The number of devices, among which the lanes are divided.
      chunks: The number of chunks of `width` lanes.
      device_bytes: Memory on each device.
      result_bytes: Results of all lanes, on the host or in the store.
      seconds: To run, without compiling; estimated from the probes, or from counted operations.
      compile_seconds: To compile all groups, likewise.
      options: Of the program, as for `sweep`.
      probes: The widths and programs that were tried.
      notes: What is not as it would be otherwise, and why, a sentence each.
    """

    lanes: int
    groups: int
    width: int
    devices: int
    chunks: int
    device_bytes: int
    result_bytes: int
    seconds: float
    compile_seconds: float
    options: Mapping[str, Any]
    probes: tuple[Probe, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{_format_count(self.lanes, 'lane')} in {_format_count(self.groups, 'group')} "
            "(one compilation each)",
            f"{_format_count(self.chunks, 'chunk')} of {_format_count(self.width, 'lane')} on "
            f"{_format_count(self.devices, 'device')}",
            f"{_format_bytes(self.device_bytes)} on each device, "
            f"{_format_bytes(self.result_bytes)} of results",
            f"about {_format_seconds(self.seconds)}, "
            f"and {_format_seconds(self.compile_seconds)} to compile",
        ]
        for probe in self.probes:
            note = "".join(f", {name}={value}" for name, value in probe.options.items())
            how = f"ran {_describe_share(probe.share)}{probe.lanes:,} lanes"
            how = how if probe.lanes else "nothing was run: counted"
            seconds = _format_seconds(probe.total)
            lines.append(f"  width {probe.width}{note}: {seconds} ({how})")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def explain(
    fn: SweptFn,
    space: Space,
    *,
    width: int | Literal["auto"] = "auto",
    devices: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Estimate the cost of a sweep before anything long runs.

    The program that `sweep` would start with is compiled, and it is kept for this process. It runs
    at most a twentieth of the lanes, or the first steps of some, if a chunk is more; of a short
    sweep nothing runs, and the seconds follow from the operations of a lane and are right to a
    factor of ten or so.

    Args:
      fn: As for `sweep`.
      space: As for `sweep`.
      width: As for `sweep`.
      devices: As for `sweep`.
      options: As for `sweep`.

    Returns:
      A `Plan`: lanes, groups, chunks, bytes and seconds.

    Example:
      >>> import jax.numpy as jnp, jaxmom as jm
      >>> def train(beta):
      ...     optimizer = jm.heavy_ball(0.1, beta)
      ...     return jm.optimize(lambda x: x**2, jnp.array(1.0), optimizer, steps=5)
      >>> plan = jm.explain(train, jm.grid(beta=jnp.linspace(0, 0.9, 100)), width=50)
      >>> plan.lanes, plan.groups, plan.chunks
      (100, 1, 2)
    """
    used, asked, given = as_devices(devices), as_width(width), as_options(options)
    check_options(given, used[0])
    traced = trace_groups(fn, space)
    tuner = Autotuner(space, largest_group(traced), used, Dispatcher(used))
    try:
        if asked == "auto":
            choice = tuner.choose_first(given)
        else:
            choice = Choice(asked, default_options(used) if given is None else given)
        widths = plan_widths(traced, *choice)
        tuner.explain(choice._replace(width=widths[group_key(tuner.group.group)]))
    except StalledError as error:
        raise RuntimeError(describe_stall("while it tries widths", error)) from None
    return _make_plan(traced, tuner, choice, list(widths.values()))


def trace_groups(fn: SweptFn, space: Space) -> list[TracedGroup]:
    """Trace the function once for each group of a space, and check its outputs."""
    check_space(space)
    if not callable(fn):
        raise TypeError(
            f"a sweep runs a function fn(**axes), which returns a Trajectory or a dict of arrays, "
            f"and not {fn!r}."
        )
    fn, first = _hold_data_once(fn), np.zeros(1, np.int64)
    traced = [trace_group(fn, g, space.take(g.rows.at(first))) for g in space.groups()]
    check_result(space, traced)
    return traced


def _hold_data_once(fn: SweptFn) -> SweptFn:
    """Return the function with the NumPy arrays that a Partial binds to it as arrays of JAX.

    All groups and programs then share one copy of them on a device. Arrays that JAX would convert
    stay as they are, since the fingerprint is of what was given.
    """

    def hold(leaf: Any) -> Any:
        is_numpy = isinstance(leaf, np.ndarray)
        return jnp.asarray(leaf) if is_numpy and _is_kept_by_jax(leaf.dtype) else leaf

    return jax.tree.map(hold, fn) if isinstance(fn, Partial) else fn


def _is_kept_by_jax(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" and jax.dtypes.canonicalize_dtype(dtype) == dtype


def largest_group(traced: Sequence[TracedGroup]) -> TracedGroup:
    """Return the group whose lanes are timed."""
    return max(traced, key=lambda one: one.group.rows.size)


def as_width(given: Any) -> int | Literal["auto"]:
    """Return a width as a Python number; integers of NumPy and JAX are admitted.

    Raises:
      ValueError: It is neither a positive integer nor "auto".
    """
    if isinstance(given, str) and given == "auto":
        return "auto"
    width = _as_count(given)
    if width is None:
        raise ValueError(f'width is "auto" or a positive number of lanes, not {given!r}.')
    return width


def as_options(given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return options with Python's own numbers, so that they can be written, and without None.

    Raises:
      ValueError: They are not a mapping, one of jaxmom's has no admissible value, or lanes in turn
        are to have an axis.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ValueError(f'options are a mapping, such as {{"{LANES_LAST}": 1}}, not {given!r}.')
    options = {n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()}
    options = {name: value for name, value in options.items() if value is not None}
    for name in {LANES_LAST, BLOCK, NARROW} & options.keys():
        count = _as_count(options[name], least=0 if name == NARROW else 1)
        if count is None:
            raise ValueError(
                f"the option {name!r} is a positive integer{' or 0' * (name == NARROW)}, not "
                f"{options[name]!r}; leave it out, or give None, for none."
            )
        options[name] = count
    if IN_TURN in options:
        check_flag(f"the option {IN_TURN!r}", options[IN_TURN])
        beside = [name for name in (LANES_LAST, BLOCK) if name in options]
        if options[IN_TURN] and beside:
            raise ValueError(
                f"the options {IN_TURN!r} and {beside[0]!r} exclude each other: lanes that run in "
                "turn have no axis; leave one of them out."
            )
        if not options[IN_TURN]:
            del options[IN_TURN]
    return options


def as_devices(given: Any) -> list[Any]:
    """Return devices as a list, in which one that runs n programs at a time is there n times.

    Args:
      given: Some devices, or one, taken as they are. By default all local ones, of which a CPU is
        there so often that each core has a program: XLA gives a program few cores by itself.

    Raises:
      ValueError: They are not devices.
    """
    if given is None:
        local = jax.local_devices()
        is_cpu = local[0].platform == "cpu"
        return local * max(count_cores() // len(local), 1) if is_cpu else local
    is_several = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
    devices = list(given) if is_several else [given]
    if not devices or not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(f"devices are some of jax.local_devices(), not {given!r}.")
    return devices


def _as_count(given: Any, least: int = 1) -> int | None:
    """Return an integer of any library as a Python one; None for anything else or less."""
    try:
        count = as_index(given)
    except TypeError:
        return None
    return count if count >= least else None


def _make_plan(
    traced: Sequence[TracedGroup], tuner: Autotuner, choice: Choice, widths: Sequence[int]
) -> Plan:
    best, sizes = tuner.best, [one.group.rows.size for one in traced]
    run = tuner.count_run(sizes, choice)
    return Plan(
        lanes=sum(sizes),
        groups=len(traced),
        width=choice.width,
        devices=len(set(tuner.devices)),
        chunks=sum(map(ceil_div, sizes, widths)),
        device_bytes=best.bytes,
        result_bytes=sum(one.group.rows.size * one.result_bytes for one in traced),
        seconds=best.total * run / tuner.count_run([tuner.group.group.rows.size], choice),
        compile_seconds=best.compile_seconds * len(traced),
        options=best.options,
        probes=tuple(tuner.tried),
        notes=(*tuner.notes, *_describe_small(choice.width, widths)),
    )


def _describe_small(width: int, widths: Sequence[int]) -> Iterator[str]:
    """Yield what there is to say of groups that run in programs of fewer lanes."""
    small = sorted(one for one in widths if one < width)
    if small:
        narrowest = f"{small[0]} to " if small[0] < small[-1] else ""
        yield (
            f"{_format_count(len(small), 'group')} of few lanes "
            f"run{'s' * (len(small) == 1)} at a width of {narrowest}{small[-1]}"
        )


def _describe_share(share: float) -> str:
    return "" if share == 1 else f"the first {share:.2g} of the steps of "


def _format_count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _format_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _format_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
