"""A deadlock of batched LAPACK calls in XLA:CPU, and the way to run programs that have them.

XLA:CPU of some versions of jaxlib gives a batch of matrices to LAPACK in tasks for its own threads.
Two such calls at the same time wait for each other's threads, forever and with idle processors:
calls of one program that do not depend on each other, and calls of programs on two devices. They
run one after the other with another scheduler, on one device. Calls for one matrix are not divided
into tasks. So lanes in turn need none of this, unless a lane itself calls LAPACK for a batch.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxmom import _jaxpr

_FIRST_FAULTY, _FIRST_SOUND = (0, 10), (0, 11)  # versions of jaxlib
_ONE_CALL_AT_A_TIME = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def deadlock_note(program: Any, devices: Sequence[Any], in_turn: bool = False) -> str | None:
    """Return what is done to keep a program from a deadlock.

    Args:
      program: The jaxpr of one lane.
      devices: On which it is to run.
      in_turn: Whether lanes run one after the other, so that only what is a batch within a lane is
        a batch.

    Returns:
      A sentence, or None if nothing needs to be done.
    """
    if not _may_wait_forever(devices[0].platform):
        return None
    calls = _jaxpr.lapack_calls(program, least_axes=3 if in_turn else 0)
    if not calls:
        return None
    return (
        f"batched LAPACK calls ({', '.join(calls)}) can deadlock in jaxlib 0.10: the program runs "
        "on one device, with a scheduler that makes one call at a time"
    )


def avoid_deadlock(
    program: Any, devices: Sequence[Any], options: Mapping[str, Any], in_turn: bool = False
) -> tuple[list[Any], dict[str, Any]]:
    """Return devices and compiler options with which a program ends.

    They follow from the program, the platform and the version of jaxlib, all of which are part of
    a sweep's identity. The first time in a process, a warning is logged that says what is done.

    Args:
      program: The jaxpr of one lane.
      devices: On which it is to run.
      options: Of the compiler; what is given here is kept.
      in_turn: As for `deadlock_note`.

    Returns:
      As many devices as are given, the first one several times if it has to do, and the options.
    """
    note = deadlock_note(program, devices, in_turn)
    if note is None:
        return list(devices), dict(options)
    _log_once(note)
    return [devices[0]] * len(devices), _ONE_CALL_AT_A_TIME | dict(options)


def jit_with_lapack(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `jax.jit` of a function with several LAPACK calls, which ends on every jaxlib."""

    @functools.cache
    def compiled(platform: str) -> Callable[..., Any]:
        options = _ONE_CALL_AT_A_TIME if _may_wait_forever(platform) else None
        return jax.jit(function, compiler_options=options)

    return lambda *args: compiled(jax.default_backend())(*args)


def _may_wait_forever(platform: str) -> bool:
    """Return whether two LAPACK calls of a program may wait for each other forever."""
    return platform == "cpu" and _FIRST_FAULTY <= _jaxpr.jaxlib_version() < _FIRST_SOUND


@functools.cache
def _log_once(message: str) -> None:
    """Log a warning the first time that it is given in a process."""
    logging.getLogger("jaxmom").warning("%s.", message)
