"""Executables of this process, kept so that an identical program is not compiled again.

Tracing a function takes milliseconds and compiling it takes a second, so that in a loop of many
small sweeps (an optimizer of hyperparameters that proposes a few lanes at a time) compiling would
be nearly all of the time. A program is known again by its jaxpr: the equations with their
parameters, the shapes and dtypes of all values, and the content of its constants. Arrays that a
`jax.tree_util.Partial` binds are arguments of the program, and their values are not part of it.

Programs of another process are not kept here but by JAX, in its persistent compilation cache, if
``jax_compilation_cache_dir`` is set.
"""

import collections
import hashlib
import threading
from collections.abc import Hashable
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p
from jaxmom.sweeps.compile.outputs import is_key

_KEPT = 64  # executables; the one that was not used for the longest time is dropped

# Parameters that matter to derivatives only, and a program that is compiled takes no more of them.
_DERIVATIVES = {
    p.custom_jvp_call_p: {"jvp_jaxpr_fun", "jvp_jaxpr_thunk"},
    p.custom_vjp_call_p: {"fwd_jaxpr_thunk", "bwd"},
}

ProgramKey: TypeAlias = Hashable

_EXECUTABLES: collections.OrderedDict[ProgramKey, Any] = collections.OrderedDict()
_LOCK = threading.Lock()


def program_key(program: Any) -> ProgramKey:
    """Return what is equal for two programs if and only if they compute the same.

    A function of the host in a program counts as the object that it is: another one of the same
    code may read something else.

    Args:
      program: A jaxpr, closed or not.

    Returns:
      A nested tuple. Two programs that compute the same may differ in it, if the difference is in
      objects that cannot be compared.
    """
    jaxpr, constants = _jaxpr.open_program(program)
    numbers: dict[Any, int] = {}

    def number(variables: Any) -> ProgramKey:
        return tuple((numbers.setdefault(v, len(numbers)), v.aval) for v in variables)

    def read(atom: Any) -> ProgramKey:
        return numbers[atom] if not hasattr(atom, "val") else (atom.aval, _value_key(atom.val))

    inputs = number([*jaxpr.constvars, *jaxpr.invars])
    equations = tuple(
        (
            equation.primitive,
            tuple(map(read, equation.invars)),
            number(equation.outvars),
            _params_key(equation),
            repr(equation.ctx),
        )
        for equation in jaxpr.eqns
    )
    return inputs, tuple(map(_value_key, constants)), equations, tuple(map(read, jaxpr.outvars))


def find_executable(key: ProgramKey) -> Any:
    """Return the executable that was kept under a key with these settings of JAX, or None.

    Args:
      key: As for `keep_executable`.
    """
    full = _add_settings(key)
    with _LOCK:
        if full in _EXECUTABLES:
            _EXECUTABLES.move_to_end(full)
        return _EXECUTABLES.get(full)


def keep_executable(key: ProgramKey, executable: Any) -> None:
    """Keep an executable for this process.

    Args:
      key: Of all that the executable depends on but the settings of JAX, which are added.
      executable: What was compiled.
    """
    with _LOCK:
        _EXECUTABLES[_add_settings(key)] = executable
        while len(_EXECUTABLES) > _KEPT:
            _EXECUTABLES.popitem(last=False)


def forget_executables() -> None:
    """Forget all executables, so that the next sweep compiles."""
    with _LOCK:
        _EXECUTABLES.clear()


def _add_settings(key: ProgramKey) -> ProgramKey:
    """Return a key with the settings of JAX, those of this thread included: any may matter."""
    known = jax.config.values.items()  # of the process; a thread may have others of its own
    return key, tuple((name, repr(getattr(jax.config, name, value))) for name, value in known)


def _params_key(equation: Any) -> ProgramKey:
    """Return the key of an equation's parameters, without those that matter to derivatives only."""
    left_out = _DERIVATIVES.get(equation.primitive, ())
    params = sorted(equation.params.items())
    return tuple((name, _value_key(value)) for name, value in params if name not in left_out)


def _value_key(value: Any) -> ProgramKey:
    """Return the key of a parameter or constant: programs and arrays by content, others by ``==``.

    A value that cannot be hashed gets a key that no other one equals.
    """
    if hasattr(value, "eqns"):
        return program_key(value)
    if isinstance(value, tuple | list):
        return type(value), tuple(map(_value_key, value))
    if isinstance(value, dict):
        return tuple((_value_key(k), _value_key(v)) for k, v in value.items())
    if isinstance(value, jax.Array) or hasattr(value, "__array__"):  # JAX 0.8 has more such types
        return _array_key(value)
    if isinstance(value, bool | int | float | complex):  # 1 == 1.0 == True, and nan != nan
        return type(value), repr(value)
    try:
        hash(value)
    except TypeError:
        return object()
    return value


def _array_key(array: Any) -> ProgramKey:
    """Return dtype, shape and a digest of the bytes, which are not kept alive by it."""
    content = np.ascontiguousarray(jax.random.key_data(array) if is_key(array) else array)
    digest = hashlib.blake2b(content.view(np.uint8).data if content.size else b"").digest()
    return str(array.dtype), np.shape(array), digest
