"""The outputs of a swept function: from what it returns to named arrays with dimensions."""

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmom.sweeps.space.axes import PyTree

STEP = "step"  # the dimension of the records of a Trajectory, and the name of its `steps`
_DIVERGED_AT = "diverged_at"
_MADE_BY_THE_SWEEP = {"status", "lane", STEP}
_LONGEST = 200  # characters of a name, as file systems admit some 255 bytes


class Output(NamedTuple):
    """One array of the result, for one lane.

    Attributes:
      dims: The names of its dimensions: ``step`` for records, and one for each axis of a lane.
      shape: Their sizes.
      dtype: By name.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


def is_run(value: Any) -> bool:
    """Return whether this is a `Trajectory`.

    It is known by its fields, because this floor imports nothing of the one that makes it.
    """
    return {"steps", "history", _DIVERGED_AT} <= set(getattr(value, "_fields", ()))


def is_key(leaf: Any) -> bool:
    """Return whether this is an array of typed random keys."""
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def name_outputs(result: PyTree) -> dict[str, tuple[Any, int]]:
    """Return the leaves of a result by name, each with its number of leading axes of records.

    Args:
      result: A Trajectory; a dict of arrays, nested or not, and with a Trajectory in it or not;
        or a tuple of a Trajectory and such a dict.

    Returns:
      A dict, name -> (leaf, axes of records). Records of a run have their own names, after the name
      of the run if it is in a dict; other leaves have their paths, joined by points.

    Raises:
      TypeError: It is something else, or a leaf is not an array.
      ValueError: Two outputs have one name, or one has a name that the sweep itself uses; or there
        is another Trajectory, whose divergence would be lost.
    """
    prefix, run, others = _split_result(result)
    _check_leaves(others)
    named = [] if run is None else [(STEP, (run.steps, 0)), (_DIVERGED_AT, (run.diverged_at, 0))]
    reserved = _MADE_BY_THE_SWEEP & set(map(str, others))
    if run is not None:
        records = _leaves_by_path(run.history)
        reserved |= _MADE_BY_THE_SWEEP & {f"{prefix}{name}" for name, _ in records}
        named += [(f"{prefix}{name}", (leaf, 1)) for name, leaf in records]
    named += [(name, (leaf, 0)) for name, leaf in _leaves_by_path(others)]
    if reserved:
        raise ValueError(f"the sweep itself makes {sorted(reserved)}; rename these outputs.")
    odd = sorted(n for n, _ in named if n.strip() in ("", ".", "..") or not n.isprintable())
    if odd or any(len(name) > _LONGEST for name, _ in named):
        odd = odd or [max((name for name, _ in named), key=len)]
        raise ValueError(
            f"outputs have the names {odd}; a name has 1 to {_LONGEST} characters that can be "
            "printed, and is not only spaces or points, as files and tables cannot hold others."
        )
    counts = collections.Counter(name for name, _ in named)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ValueError(
            f"several outputs have the names {twice}, as nested names are joined by points; rename "
            "all but one of each."
        )
    return dict(named)


def _split_result(result: PyTree) -> tuple[str, Any, Mapping[Any, Any]]:
    """Return a prefix for the records of a run, the run or None, and the other outputs.

    Raises:
      TypeError: The result is neither a run nor a dict of arrays nor a pair of both.
      ValueError: It is an empty dict.
    """
    if is_run(result):
        return "", result, {}
    if isinstance(result, tuple) and len(result) == 2 and is_run(result[0]):
        run, others = result
        if isinstance(others, Mapping):
            return "", run, others
    if not isinstance(result, Mapping):
        raise TypeError(
            f"the function returned {type(result).__name__}; a sweep needs a Trajectory of "
            "jm.optimize, a dict of arrays, or a tuple of both, as in (run, {'norm': norm}). "
            "Return the run itself, or 'diverged_at': run.diverged_at among the arrays, so that "
            "lanes that diverged are marked."
        )
    if not jax.tree.leaves(result):
        raise ValueError("the function returned no arrays; there is nothing to keep of its lanes.")
    runs = [name for name, value in result.items() if is_run(value)]
    if not runs:
        return "", None, result
    others = {name: value for name, value in result.items() if name != runs[0]}
    return f"{runs[0]}.", result[runs[0]], others


def _check_leaves(others: Mapping[Any, Any]) -> None:
    """Refuse runs, each of which has a divergence of its own, and what is not an array.

    Args:
      others: The outputs beside the run, by name, nested or not.

    Raises:
      ValueError: One of them is a run.
      TypeError: One of them is not an array or number.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(others, is_leaf=is_run):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if is_run(leaf):
            raise ValueError(
                f"the output {name!r} is a Trajectory, and a lane has the status of one at the top "
                "level of the result; return arrays of the others, such as "
                "other.history['value'] and other.diverged_at under names of their own."
            )
        try:
            jax.typeof(leaf)
        except TypeError:
            raise TypeError(
                f"the output {name!r} is {leaf!r}, which is not an array; leave it out, or return "
                "numbers or booleans."
            ) from None


def _leaves_by_path(tree: PyTree) -> list[tuple[str, Any]]:
    """Return the leaves of a pytree by their paths: ``{"a": {"b": x}}`` has "a.b"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


def describe_output(name: str, leaf: Any, records: int) -> Output:
    """Return the dimensions, shape and dtype of an output.

    Args:
      name: Its name, after which its dimensions are named.
      leaf: The array, or its shape and dtype.
      records: How many of its leading axes are records of a run.

    Raises:
      TypeError: It is a random key.
      ValueError: It is `diverged_at` and no scalar.
    """
    if is_key(leaf):
        raise TypeError(
            f"the output {name!r} is a random key, which no file keeps; return "
            "jax.random.key_data of it."
        )
    if name == _DIVERGED_AT and leaf.shape:
        raise ValueError(
            f"the output {_DIVERGED_AT!r} says at which step a lane diverged, -1 if it did not: it "
            f"is one number for a lane, not an array of shape {leaf.shape}; rename it."
        )
    inner = (f"{name}_{axis}" for axis in range(len(leaf.shape) - records))
    dims = (STEP,) if name == STEP else (*[STEP] * records, *inner)
    return Output(dims, tuple(leaf.shape), str(leaf.dtype))


def check_names(outputs: Mapping[str, Output], axes: set[str]) -> None:
    """Check that no name stands for two things of the result.

    Args:
      outputs: By name.
      axes: The names of the axes and dimensions of the space.

    Raises:
      ValueError: An output or a dimension has the name of an axis or of another output.
    """
    clash = sorted(set(outputs) & axes)
    if clash:
        raise ValueError(f"the outputs {clash} have names of axes; rename them.")
    for name, output in outputs.items():
        taken = sorted((set(output.dims) - {STEP}) & (axes | set(outputs) | _MADE_BY_THE_SWEEP))
        if taken:
            raise ValueError(
                f"the dimensions of the output {name!r} are named {list(output.dims)}, and "
                f"{taken} are axes or outputs too; rename one of them."
            )
