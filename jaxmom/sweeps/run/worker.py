"""The side of the worker: get the function of a sweep once, compile it, and run chunks."""

import contextlib
import dataclasses
import hashlib
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxmom.sweeps.compile.identity import apply_settings, read_settings, read_versions
from jaxmom.sweeps.compile.lapack import deadlock_note
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

_KEPT_PROGRAMS = 16  # of a worker


class Payload(NamedTuple):
    """The name of a pickled function with its data, by which workers know it.

    Attributes:
      digest: SHA-256 of the bytes.
      path: A file that has them, for the workers that can read it.
    """

    digest: str
    path: str


class UnknownPayload(LookupError):
    """A worker has never had a function, cannot read its file, and asks for the bytes."""


def pack_function(
    fn: SweptFn, traced: TracedGroup, width: int, options: Mapping[str, Any]
) -> bytes:
    """Pickle what a worker needs to make the program of a group.

    Args:
      fn: The function that is swept.
      traced: The group, as the driver has traced it.
      width: Of a chunk.
      options: Of the program.

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

    group = (traced.group.static, traced.group.names, traced.fingerprint)
    here = (read_settings(), read_versions(), jax.default_backend())
    return cloudpickle.dumps((fn, *group, width, dict(options), *here))


def run_chunk(
    payload: Payload,
    content: bytes | None,
    columns: Arguments,
    stall_seconds: float = STALL_SECONDS,
    data: Sequence[Any] | None = None,
) -> Arrays:
    """Compute one chunk in a worker; NumPy comes in and NumPy goes out.

    Args:
      payload: The name of the function.
      content: Its bytes, from `pack_function`; None if the worker is to read them from the file.
      columns: The arguments of the lanes.
      stall_seconds: As for `jaxmom.sweep`.
      data: What lanes share, if it differs from chunk to chunk; None for that of the function.

    Raises:
      UnknownPayload: There are no bytes.
      RuntimeError: The worker has other versions than the driver, of JAX, of the function or of
        the device, so its results would differ; or it cannot use JAX, or stands still.
    """
    refuse_fork()
    with _LOADING:
        key = payload.digest, count_lanes(columns, 0)
        if key not in _PROGRAMS:
            if len(_PROGRAMS) >= _KEPT_PROGRAMS:
                _PROGRAMS.clear()
            content = _read_content(payload) if content is None else content
            _PROGRAMS[key] = _compile_content(content, columns)
        program, settings = _PROGRAMS[key]
    with apply_settings(settings):
        if data is not None:
            program = dataclasses.replace(program, data=jax.device_put(tuple(data), program.device))
        return _run_program(program, columns, stall_seconds)


# Of this worker, by the digest of the payload and the lanes of a chunk: programs and the settings
# that they run with.
_PROGRAMS: dict[tuple[str, int], tuple[Program, Mapping[str, Any]]] = {}
_LOADING = threading.Lock()  # two threads of a worker would compile the same program
_ALONE = threading.RLock()  # held by a program that could deadlock with another


def _read_content(payload: Payload) -> bytes:
    """Read the bytes of a function from its file, which another machine may not have."""
    try:
        content = pathlib.Path(payload.path).read_bytes()
    except OSError:
        raise UnknownPayload(payload.digest) from None
    if hashlib.sha256(content).hexdigest() != payload.digest:
        raise UnknownPayload(payload.digest)  # of the same name, and another machine's
    return content


def _run_program(program: Program, columns: Arguments, stall_seconds: float) -> Arrays:
    """Run a program in a thread of a worker, beside no other one where that could deadlock."""
    dispatcher = Dispatcher([program.device], stall_seconds)
    is_alone = deadlock_note(program.group.jaxpr, [program.device]) is not None
    with _ALONE if is_alone else contextlib.nullcontext():
        try:
            return program.finish(dispatcher.wait(dispatcher.start(program, columns)))
        except StalledError as error:
            raise RuntimeError(describe_stall("in a worker", error)) from None


def _compile_content(content: bytes, columns: Arguments) -> tuple[Program, Mapping[str, Any]]:
    """Compile a function from its bytes, once it has proved to be that of the driver."""
    import cloudpickle

    loaded = cloudpickle.loads(content)
    fn, static, names, fingerprint, width, options, settings, versions, backend = loaded
    if (read_versions(), jax.default_backend()) != (versions, backend):
        raise RuntimeError(
            f"this worker has {read_versions()} on {jax.default_backend()}, the driver {versions} "
            f"on {backend}, and the results would differ in their last bits; install the same "
            "versions everywhere, and use the same kind of device."
        )
    width = count_lanes(columns, width)
    with apply_settings(settings):
        traced = trace_group(fn, Group(static, static, names, all_indices(width), ()), columns)
        if traced.fingerprint != fingerprint:
            raise RuntimeError(
                "this worker has another version of the function than the driver: it has imported "
                "a module, or read data, before they changed; restart the workers."
            )
        (program,) = compile_group(traced, width, jax.local_devices()[:1], options)
    return program, settings
