"""What a function captures, as a part of the key under which it is compiled."""

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.tree_util import Partial

from jaxmom._code_names import NO_NAMES, Names, is_installed, join_names, names_of

_Tree = TypeVar("_Tree")


@dataclasses.dataclass(frozen=True, repr=False)
class Captured:
    """A function that equals itself only as long as it captures the same values."""

    function: Callable[..., Any]
    captures: Any = dataclasses.field(hash=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function itself, whose signature this one has."""
        return self.function

    def __repr__(self) -> str:
        return repr(self.function)

    def __reduce__(self) -> tuple[Any, ...]:
        return with_captures, (self.function,)


def with_captures(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that `jax.jit` traces anew when what it captures has changed.

    It captures what its code reads from closures, globals, defaults and the object of a method, and
    what functions among these capture. Numbers, strings, NumPy arrays, lists, tuples, dicts and the
    attributes of objects of the user's classes compare by content, all else by identity. Functions
    and classes of this library, of installed packages and of Python are not followed. What a
    function may itself write, such as a counter of its calls, does not count.
    """
    if isinstance(function, Captured):  # and what it captured may have changed since
        function = function.function
    if isinstance(function, Partial):
        args, keywords = capture_anew((function.args, function.keywords))
        return Partial(with_captures(function.func), *args, **keywords)
    content = _content(function, {}, NO_NAMES)
    return function if isinstance(content, _Same | Captured) else Captured(function, content)


def capture_anew(tree: _Tree) -> _Tree:
    """Apply `with_captures` to every `Partial` in a pytree, such as an optimizer's schedules."""

    def capture(node: Any) -> Any:
        return with_captures(node) if isinstance(node, Partial) else node

    return jax.tree.map(capture, tree, is_leaf=lambda node: isinstance(node, Partial))


def as_partial(function: Callable[..., Any]) -> Partial:
    """Return a function as a pytree; the arrays of one that is a module become its leaves."""
    if not isinstance(function, Partial) and not jax.tree_util.all_leaves([function]):
        return Partial(_call_function, function)
    function = with_captures(function)
    return function if isinstance(function, Partial) else Partial(function)


def _call_function(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@dataclasses.dataclass(frozen=True, eq=False)
class _Same:
    """An object that compares by identity, and lives as long as this."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _content(value: Any, seen: dict[int, tuple[int, Any]], names: Names) -> Any:
    """Return a hashable equivalent of a value that code with these names captures."""
    if isinstance(value, bool | int | str | bytes | None):
        return type(value), value
    if isinstance(value, float | complex) and not isinstance(value, np.generic):
        return type(value), repr(value)  # 0.0 is not -0.0, and nan is nan
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return value.dtype.str, value.shape, hashlib.blake2b(value.tobytes()).digest()
    if isinstance(value, tuple):
        return type(value), *(_content(item, seen, names) for item in value)
    if id(value) in seen:
        return "seen", seen[id(value)][0]
    parts = _parts_of(value, names)
    if parts is None:
        return _Same(value)
    seen[id(value)] = len(seen), value
    items, inner = parts
    kept = [(key, _content(item, seen, inner)) for key, item in items.items()]
    return type(value), *kept


def _parts_of(value: Any, names: Names) -> tuple[dict[Any, Any], Names] | None:
    """Return the parts of what is followed, and the names of the code that uses them."""
    if isinstance(value, list | dict):
        items = value if isinstance(value, dict) else dict(enumerate(value))
        return None if names.mutates else (items, names)
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}, NO_NAMES
    if isinstance(value, types.MethodType):
        inner = names_of(getattr(value.__func__, "__code__", None))
        return {"function": value.__func__, "self": value.__self__}, inner
    if isinstance(value, types.FunctionType):
        return None if _is_installed(value.__globals__) else _parts_of_function(value)
    if isinstance(value, types.SimpleNamespace) or _is_of_user(value):
        return _parts_of_object(value, names)
    return None


def _parts_of_function(function: types.FunctionType) -> tuple[dict[Any, Any], Names]:
    code, names = function.__code__, names_of(function.__code__)
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    variables = {name: function.__globals__.get(name) for name in sorted(names.variables)}
    variables |= {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    kept = {name: value for name, value in variables.items() if name not in names.written_variables}
    defaults = {0: function.__defaults__, 1: function.__kwdefaults__}
    return {2: code, **defaults, **kept}, names


def _parts_of_object(value: Any, names: Names) -> tuple[dict[Any, Any], Names]:
    """Return the attributes of an object, except those that its methods in use write."""
    methods: dict[Any, Any] = {}
    inner, named = names, {"__call__"} | names.attributes
    while named:
        found = {name: getattr(type(value), name, None) for name in sorted(named)}
        new = {n: m for n, m in found.items() if isinstance(m, types.FunctionType)}
        methods |= new
        inner = join_names(inner, *(names_of(method.__code__) for method in new.values()))
        named = inner.attributes - methods.keys() if new else set()
    kept = {
        name: part for name, part in vars(value).items() if name not in inner.written_attributes
    }
    return {**methods, **kept}, inner


def _is_filled(cell: types.CellType) -> bool:
    """Whether the variable of a closure has a value yet."""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _is_of_user(value: Any) -> bool:
    module = sys.modules.get(type(value).__module__)
    is_object = hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType)
    return is_object and module is not None and not _is_installed(vars(module))


def _is_installed(module: Mapping[str, Any]) -> bool:
    """Whether a module, given by its globals, is not the user's."""
    file = module.get("__file__") or ""
    is_builtin = module.get("__name__") == "builtins"
    ours = str(module.get("__name__")).partition(".")[0] == "jaxmom"
    return ours or is_builtin or is_installed(file)
