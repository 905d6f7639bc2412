"""The side of the worker: get the function of a sweep once, compile it, and run chunks.

A worker may be a process of a pool, a thread, or a process on another machine. All it is sent is
`run_chunk` with its arguments, and what it remembers between two chunks is in this module.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxmom.sweeps.compile.identity import apply_settings, read_settings, read_versions
from jaxmom.sweeps.compile.program import (
    Arguments,
    Arrays,
    Program,
    SweptFn,
    TracedGroup,
    compile_group,
    count_lanes,
    trace_group,
)
from jaxmom.sweeps.compile.watchdog import STALL_SECONDS, Dispatcher, StalledError, describe_stall
from jaxmom.sweeps.run.forks import refuse_fork
from jaxmom.sweeps.space.groups import Group
from jaxmom.sweeps.space.index_maps import all_indices

_KEPT_PROGRAMS, _KEPT_SWEEPS = 16, 2  # of a worker


class Payload(NamedTuple):
    """The name of a pickled sweep with its data, by which workers know it.

    Attributes:
      digest: SHA-256 of the bytes.
      path: A file that has them, for the workers that can read it.
    """

    digest: str
    path: str


class UnknownPayload(LookupError):
    """A worker has never had a sweep, cannot read its file, and asks for the bytes.

    It is raised before anything has run, and the driver sends the same chunk with the bytes.
    """


def pack_sweep(
    functions: Sequence[SweptFn],
    traced: Sequence[TracedGroup],
    widths: Sequence[int],
    options: Mapping[str, Any],
) -> bytes:
    """Pickle what a worker needs to make the programs of a sweep.

    All groups are in one pickle, so that data which their functions share are in it once.

    Args:
      functions: What is swept, for each group.
      traced: The groups, as the driver has traced them.
      widths: Of each group: how many lanes a chunk has.
      options: The options of the programs.

    Returns:
      Bytes, which contain the settings and the versions of this process too.

    Raises:
      ImportError: cloudpickle is not installed.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise ImportError(
            'executor= needs cloudpickle, which is in an extra: pip install "jaxmom[dask]".'
        ) from error

    groups = [
        PackedGroup(fn, one.group.static, one.group.names, one.fingerprint, width)
        for fn, one, width in zip(functions, traced, widths, strict=True)
    ]
    here = read_settings(), read_versions(), jax.default_backend()
    return cloudpickle.dumps(PackedSweep(groups, dict(options), *here))


class PackedGroup(NamedTuple):
    """What a worker traces and compiles.

    Attributes:
      fn: The function.
      static: Its arguments that are not traced.
      names: Those that are.
      fingerprint: The fingerprint of the function, as the driver has traced it.
      width: How many lanes a chunk has.
    """

    fn: SweptFn
    static: dict[str, Any]
    names: tuple[str, ...]
    fingerprint: str
    width: int


class PackedSweep(NamedTuple):
    """A sweep as it travels.

    Attributes:
      groups: What is compiled once each.
      options: The options of the programs.
      settings: Of JAX, in the driver.
      versions: Of JAX, there.
      backend: The platform that it would use.
    """

    groups: Sequence[PackedGroup]
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    backend: str


def run_chunk(
    payload: Payload,
    content: bytes | None,
    group: int,
    columns: Arguments,
    stall_seconds: float = STALL_SECONDS,
    data: Sequence[Any] | None = None,
) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Args:
      payload: The name of the sweep.
      content: Its bytes, from `pack_sweep`; None if the worker is to read them from the file.
      group: The number of the group.
      columns: The arguments of the lanes.
      stall_seconds: As for `jaxmom.sweep`.
      data: What lanes share, if it differs from chunk to chunk; None for that of the function.

    Returns:
      The outputs by name, [lanes, ...].

    Raises:
      UnknownPayload: There are no bytes.
      RuntimeError: The worker has other versions than the driver, of JAX, of the function or of
        the device, so its results would differ; or it cannot use JAX, or stands still.
    """
    refuse_fork()
    with _LOADING:
        sweep = _find_sweep(payload, content)
        key = payload.digest, group, count_lanes(columns, sweep.groups[group].width)
        if key not in _PROGRAMS:
            _drop_oldest(_PROGRAMS, _KEPT_PROGRAMS)
            _PROGRAMS[key] = _compile_group(sweep, group, columns)
        program = _PROGRAMS[key]
    with apply_settings(sweep.settings):
        if data is not None:
            program = dataclasses.replace(program, data=jax.device_put(tuple(data), program.device))
        return _run_program(program, columns, stall_seconds)


# Of this worker: sweeps by their digests, and programs by sweep, group and lanes.
_SWEEPS: dict[str, PackedSweep] = {}
_PROGRAMS: dict[tuple[str, int, int], Program] = {}
_LOADING = threading.Lock()  # two threads of a worker would compile the same program
_ALONE = threading.RLock()  # held by a program that could deadlock with another


def _find_sweep(payload: Payload, content: bytes | None) -> PackedSweep:
    """Return a sweep that this worker has had, or has now.

    Args:
      payload: Its name.
      content: Its bytes, if they came with the chunk.

    Raises:
      UnknownPayload: There are no bytes.
    """
    if payload.digest not in _SWEEPS:
        import cloudpickle

        _drop_oldest(_SWEEPS, _KEPT_SWEEPS)
        found = _read_content(payload) if content is None else content
        _SWEEPS[payload.digest] = cloudpickle.loads(found)
    return _SWEEPS[payload.digest]


def _drop_oldest(kept: dict[Any, Any], most: int) -> None:
    while len(kept) >= most:
        del kept[next(iter(kept))]


def _read_content(payload: Payload) -> bytes:
    """Read the bytes of a sweep from its file.

    Raises:
      UnknownPayload: There is no such file on this machine, or one of another sweep.
    """
    try:
        content = pathlib.Path(payload.path).read_bytes()
    except OSError:
        raise UnknownPayload(payload.digest) from None
    if hashlib.sha256(content).hexdigest() != payload.digest:
        raise UnknownPayload(payload.digest)  # of the same name, and another machine's
    return content


def _run_program(program: Program, columns: Arguments, stall_seconds: float) -> Arrays:
    """Run a program in a thread of a worker, beside no other one where that could deadlock.

    Raises:
      RuntimeError: The program stands still.
    """
    dispatcher = Dispatcher([program.device], stall_seconds)
    with _ALONE if program.is_alone else contextlib.nullcontext():
        try:
            return program.finish(dispatcher.wait(dispatcher.start(program, columns)))
        except StalledError as error:
            raise RuntimeError(describe_stall("in a worker", error)) from None


def _compile_group(sweep: PackedSweep, number: int, columns: Arguments) -> Program:
    """Compile a group, once its function has proved to be that of the driver.

    Args:
      sweep: With the group.
      number: The number of the group.
      columns: The arguments of the first chunk, which say how many lanes a program takes.

    Raises:
      RuntimeError: The worker has other versions of JAX, another kind of device, or another version
        of the function.
    """
    if (read_versions(), jax.default_backend()) != (sweep.versions, sweep.backend):
        raise RuntimeError(
            f"this worker has {read_versions()} on {jax.default_backend()}, the driver "
            f"{sweep.versions} on {sweep.backend}, and the results would differ in their last "
            "bits; install the same versions everywhere, and use the same kind of device."
        )
    packed = sweep.groups[number]
    width = count_lanes(columns, packed.width)
    group = Group(packed.static, packed.static, packed.names, all_indices(width), ())
    with apply_settings(sweep.settings):
        traced = trace_group(packed.fn, group, columns)
        if traced.fingerprint != packed.fingerprint:
            raise RuntimeError(
                "this worker has another version of the function than the driver: it has imported "
                "a module, or read data, before they changed; restart the workers."
            )
        (program,) = compile_group(traced, width, jax.local_devices()[:1], sweep.options)
    return program
