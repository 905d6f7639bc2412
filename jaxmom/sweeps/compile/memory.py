"""Memory: how much there is, how much a chunk may take, and the errors of having none left."""

import math
from collections.abc import Sequence
from typing import Any

import jax

_SHARE = {"cpu": 0.4, "other": 0.7}  # of the memory; a second chunk is in flight while one runs


def memory_budget(devices: Sequence[Any]) -> float:
    """Return the bytes that a chunk may take on each device.

    Args:
      devices: Those of a sweep, all of one kind. On a CPU they share the main memory; elsewhere
        the first one speaks for all.

    Returns:
      A share of what is free, because a second chunk is in flight while one runs.
    """
    platform = "cpu" if devices[0].platform == "cpu" else "other"
    stats = devices[0].memory_stats() if platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return _SHARE[platform] * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return _SHARE["cpu"] * available_memory() / len(devices)


def available_memory() -> float:
    """Return the free bytes of main memory, within the limits of a container.

    Returns:
      The least of what the system has available and what the control groups of the process
      admit; infinity where neither says.
    """
    limits = [math.inf]
    for path, read in (
        ("/proc/meminfo", lambda text: 1024 * float(text.split("MemAvailable:")[1].split()[0])),
        ("/sys/fs/cgroup/memory.max", float),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", float),
    ):
        try:
            with open(path, encoding="ascii") as file:
                limits.append(read(file.read()))
        except (OSError, ValueError, IndexError):  # "max" is not a number: there is no limit
            continue
    return min(limits)


def is_out_of_memory(outcome: Any) -> bool:
    """Return whether an outcome is the error of XLA when it cannot allocate.

    Args:
      outcome: A result or an exception.
    """
    if not isinstance(outcome, jax.errors.JaxRuntimeError):
        return False
    message = str(outcome)  # in jax 0.8, that of an "internal" error
    return "RESOURCE_EXHAUSTED" in message or "Out of memory" in message
