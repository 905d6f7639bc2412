"""Digests of the host functions that a program calls, of which its text has only numbers."""

import functools
import hashlib
import pickle
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxmom import _jaxpr
from jaxmom._code_names import is_installed, names_of
from jaxmom.sweeps.compile.outputs import is_key

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event)
_LOCKS += (threading.Condition, threading.Semaphore)  # whose state is that of a moment
_MEMBERS = (types.FunctionType, staticmethod, classmethod, property)

_Seen: TypeAlias = dict[int, tuple[int, Any]]  # by id: the place of an object, which stays alive


def digest_callbacks(program: Any) -> list[str]:
    """Return a digest of each host function whose results a program uses.

    It is one of the code and of all that the code reads: closures, globals, defaults, the object of
    a method, and functions among these. Installed packages count by name. What returns nothing, as
    `jax.debug.callback`, is left out: no result depends on it.

    Args:
      program: The jaxpr of one lane.

    Raises:
      ValueError: A function reads an object that has no content to compare.
    """
    equations = _jaxpr.all_equations(program)
    used = (e.params["callback"] for e in equations if e.outvars and "callback" in e.params)
    return [_digest(getattr(one, "callback_func", one)) for one in used]


def _digest(function: Any) -> str:
    """Return a digest of a function of the host, the same in each process that reads the same.

    What a function does is its code and all that the code reads, so the digest is one of both.
    """
    return hashlib.sha256("\n".join(_content(function, {})).encode()).hexdigest()


def _content(value: Any, seen: _Seen) -> Iterator[str]:
    """Yield the content of an object as text that is the same in each process."""
    if isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif id(value) in seen:
        yield f"object {seen[id(value)][0]}"
    else:
        seen[id(value)] = len(seen), value
        yield type(value).__name__
        yield from _content_of_object(value, seen)


def _content_of_object(value: Any, seen: _Seen) -> Iterator[str]:
    """Yield the content of an object that may contain others, by its kind.

    Containers, arrays, code and classes have content of their own; an instance of any other class
    is looked into, or pickled where its class is installed.
    """
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        yield from _array_content(value, seen)
    elif isinstance(value, dict):
        for item in value.items():
            yield from _all_content(item, seen)
    elif isinstance(value, set | frozenset):
        yield from sorted("\n".join(_content(one, {})) for one in value)
    elif isinstance(value, list | tuple):
        yield str(len(value))
        yield from _all_content(value, seen)
    elif isinstance(value, types.CodeType):
        yield value.co_code.hex()
        yield from _all_content((value.co_names, value.co_consts), seen)
    elif isinstance(value, types.FunctionType):
        yield from _function_content(value, seen)
    elif isinstance(value, types.MethodType):
        yield from _all_content((value.__func__, value.__self__), seen)
    elif isinstance(value, functools.partial):
        yield from _all_content((value.func, value.args, value.keywords), seen)
    elif isinstance(value, staticmethod | classmethod):
        yield from _content(value.__func__, seen)
    elif isinstance(value, property):
        yield from _all_content((value.fget, value.fset), seen)
    elif isinstance(value, types.ModuleType):
        yield value.__name__
    elif isinstance(value, type):
        yield from _class_content(value, seen)
    elif hasattr(value, "__wrapped__"):  # such as a function of `jax.jit`
        yield from _content(value.__wrapped__, seen)
    else:
        yield from _instance_content(value, seen)


def _all_content(values: Any, seen: _Seen) -> Iterator[str]:
    """Yield the content of several objects in turn."""
    for value in values:
        yield from _content(value, seen)


def _array_content(value: Any, seen: _Seen) -> Iterator[str]:
    """Yield dtype, shape and bytes; typed keys count as the numbers they are made of."""
    array = np.asarray(jax.random.key_data(value) if is_key(value) else value)
    yield f"{array.dtype} {array.shape}"
    if array.dtype.hasobject:
        yield from _content(array.tolist(), seen)
    else:
        yield array.tobytes().hex()


def _function_content(function: types.FunctionType, seen: _Seen) -> Iterator[str]:
    """Yield the code of a function and what it reads: globals, closed-over variables, defaults.

    Installed functions count by name, because the versions of packages are known. A variable that
    the function writes, such as a counter of its calls, is not an input of it and is left out.
    """
    code = function.__code__
    read, written = names_of(code).variables, names_of(code).written_variables
    if is_installed(code.co_filename):
        yield f"{function.__module__}.{function.__qualname__}"
    else:
        yield from _content(code, seen)
        known = function.__globals__
        yield from _all_content([known[n] for n in sorted(read - written) if n in known], seen)
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        if name not in written:  # not a counter of its calls
            yield from _cell_content(cell, seen)
    yield from _all_content((function.__defaults__, function.__kwdefaults__), seen)


def _cell_content(cell: types.CellType, seen: _Seen) -> Iterator[str]:
    """Yield the content of a closed-over variable, which may not have been assigned yet."""
    try:
        value = cell.cell_contents
    except ValueError:
        yield "empty"
    else:
        yield from _content(value, seen)


def _class_content(kind: type, seen: _Seen) -> Iterator[str]:
    """Yield the name of a class and, unless it is installed, its public members and its bases.

    Private members that are not functions are often caches, which change while a program runs.
    """
    yield f"{kind.__module__}.{kind.__qualname__}"
    if not _is_installed(kind):
        for name, member in sorted(vars(kind).items()):
            if isinstance(member, _MEMBERS) or not name.startswith("_"):
                yield name
                yield from _content(member, seen)
        yield from _all_content(kind.__bases__, seen)


def _instance_content(value: Any, seen: _Seen) -> Iterator[str]:
    """Yield the class of an object and its attributes, or its pickle if the class is installed.

    Raises:
      ValueError: It can neither be looked into nor pickled.
    """
    yield from _content(type(value), seen)
    if isinstance(value, _LOCKS):
        return
    if not _is_installed(type(value)) and hasattr(value, "__dict__"):
        yield from _content(vars(value), seen)
        return
    try:
        yield pickle.dumps(value, protocol=4).hex()
    except Exception as error:
        raise ValueError(
            f"the function calls a function of the host that reads a {type(value).__name__}, of "
            "which nobody can say whether it is the same in another process, so that a store or an "
            "executor could confuse two sweeps; make it within the host function, or sweep without "
            "store= and executor=."
        ) from error


def _is_installed(kind: type) -> bool:
    """Return whether a class comes from a package or from Python itself, not from the user."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    is_main = kind.__module__ == "__main__"
    return not is_main and (file is None or is_installed(file))
