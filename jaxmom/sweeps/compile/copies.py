"""Copies of an executable for further CPU devices, which cost a hundredth of compiling it again.

To XLA a CPU that is used as several devices has one executable for each of them, with the same
machine code. So the program is compiled for the first device only, and what was compiled is loaded
for the others: compiling is most of what a first call takes, and uses all cores by itself.
"""

import io
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

# JAX documents both functions of this module; what it has no argument for is the device to load
# for, in place of the one that the program was compiled for.
from jax._src import compiler
from jax.experimental import serialize_executable

from jaxmom import _jaxpr

# Settings with which JAX does not write down what it has compiled.
_IN_THE_WAY = ("jax_compilation_cache_dir", "jax_use_simplified_jaxpr_constants")


def can_copy(program: Any, device: Any) -> bool:
    """Return whether what is compiled of a program for a device can be copied for others.

    Args:
      program: The jaxpr of one lane. One that calls functions of the host holds pointers to them.
      device: For which it is compiled. Devices that are not CPUs may differ from each other, and
        what JAX finds in its cache on disk, which has an entry for each device, cannot be written
        down again.
    """
    is_set = any(jax.config.values.get(name) for name in _IN_THE_WAY)
    return device.platform == "cpu" and not calls_host(program) and not is_set


def calls_host(program: Any) -> bool:
    """Return whether a program calls functions of the host.

    Args:
      program: A jaxpr.
    """
    return any(
        "callback" in equation.params or equation.primitive.name == "debug_print"
        for equation in _jaxpr.all_equations(program)
    )


def copy_executable(compiled: Any, device: Any, options: Mapping[str, Any]) -> Any:
    """Return the same executable, which computes the same bits, for another device.

    Args:
      compiled: By ``jax.jit(...).lower(...).compile()`` in this process, for a CPU device, where
        `can_copy` holds. A copy cannot be copied.
      device: The CPU device to load it for.
      options: Those of the compiler that it was compiled with.
    """
    written, in_tree, out_tree = serialize_executable.serialize(compiled)
    unloaded, arguments, no_kwargs = _Loader(written, device, options).load()
    return jax.stages.Compiled(
        unloaded.load(), [], in_tree.unflatten(arguments), out_tree, no_kwargs=no_kwargs
    )


class _Loader(serialize_executable._JaxPjrtUnpickler):
    """Reads an executable as one of a device that it was not compiled for."""

    def __init__(self, written: bytes, device: Any, options: Mapping[str, Any]):
        super().__init__(io.BytesIO(written), device.client, [device])
        self._device, self._options = device, options

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "device":
            return self._device
        if pid[0] != "exec":
            return super().persistent_load(pid)
        settings = compiler.get_compile_options(
            num_replicas=1,
            num_partitions=1,
            device_assignment=np.array([[self._device.id]]),
            env_options_overrides=dict(self._options),
        )
        return self.backend.deserialize_executable(pid[1], self.execution_devices, settings)
