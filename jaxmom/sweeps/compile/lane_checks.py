"""Checks of a traced function, for which no lane has to run.

What would give a wrong number without a word is refused here, and what would waste memory is warned
of: random bits that a batch shares, records without a common coordinate, large constants.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax

from jaxmom import _jaxpr
from jaxmom.sweeps.compile.outputs import STEP, PyTree
from jaxmom.sweeps.space.groups import Group

Arguments: TypeAlias = dict[str, PyTree]  # by name, of one lane or of several

_LARGE_CONSTANT = 64e6  # bytes, above which a constant should be an argument of the program


def check_draws(jaxpr: Any, shared: int) -> None:
    """Refuse random bits that `jax.vmap` would draw for all lanes from the key of the first one.

    Args:
      jaxpr: The program of one lane.
      shared: How many of its first arguments all lanes share.

    Raises:
      ValueError: A generator of XLA's own gets a key that differs from lane to lane.
    """
    arguments = len(_jaxpr.open_program(jaxpr)[0].invars)
    generator = _jaxpr.shared_draws(jaxpr, [index >= shared for index in range(arguments)])
    if generator is not None:
        raise ValueError(
            f"the function draws random numbers by {generator} from keys that differ between "
            "lanes, and in a batch XLA draws them for all lanes from the key of the first, so that "
            "a lane would depend on its neighbors; make the keys with "
            'jax.random.key(seed, impl="threefry2x32").'
        )


def check_steps(
    jaxpr: Any, positions: Mapping[str, int], data: PyTree, arguments: Arguments
) -> None:
    """Refuse records at steps that depend on the lane, for which there is no coordinate.

    Args:
      jaxpr: The program of one lane.
      positions: Where each output is among its results.
      data: The arguments that all lanes share.
      arguments: Those of one lane, by name.

    Raises:
      ValueError: The steps depend on an axis, which the message names.
    """
    if STEP not in positions:
        return
    labels = {n: jax.tree.map(lambda _, n=n: n, x) for n, x in arguments.items()}
    known = [frozenset({name}) for name in jax.tree.leaves(labels)]
    unnamed: list[frozenset[str]] = [frozenset()] * len(data)
    axes = _jaxpr.dependencies(jaxpr, [*unnamed, *known])[positions[STEP]]
    if axes:
        raise ValueError(
            f"the steps of the records depend on the axes {sorted(axes)}, as those of earlier runs "
            "do, and all lanes need common ones; if these runs had n updates each, go on with "
            "run._replace(steps=jnp.array([n], jnp.int32)), or return a dict of arrays with "
            "'diverged_at': run.diverged_at."
        )


def warn_of_constants(jaxpr: Any) -> None:
    """Warn of large arrays that a function closes over: each executable has a copy of its own.

    Args:
      jaxpr: The program of one lane, whose constants these arrays are.
    """
    arrays = [array for array in _jaxpr.open_program(jaxpr)[1] if hasattr(array, "nbytes")]
    large = [array for array in arrays if array.nbytes > _LARGE_CONSTANT]
    if large:
        listed = ", ".join(f"{a.dtype}{list(a.shape)} of {a.nbytes / 1e6:.0f} MB" for a in large)
        warnings.warn(
            f"the function closes over {listed}, which each compiled program would hold as a "
            "constant of its own; bind them, as in jax.tree_util.Partial(train, data) for "
            "train(data, ...), and all programs share one copy on each device.",
            stacklevel=5,
        )


def explain_types(arguments: Arguments, data: Sequence[Any]) -> list[str]:
    """Return what may be wrong where an argument has a type that the function does not take.

    Args:
      arguments: The shapes and dtypes of one lane's arguments, by name.
      data: What a `jax.tree_util.Partial` binds.

    Returns:
      Sentences to add to the error; they tell how a number becomes static.
    """
    notes = []
    if any(not hasattr(leaf, "dtype") for leaf in data):
        notes.append(
            "What a jax.tree_util.Partial binds is traced; bind what is static, such as a number "
            "of steps, by functools.partial or in a closure."
        )
    whole = [n for n, x in arguments.items() if _is_whole(x)]
    if whole:
        notes.append(
            f"The axes {whole} have integers; write 1.0 for 1 where floats are meant, and a "
            f"mapping where a number is to be static, as in {whole[0]}={{'5': 5, '10': 10}}."
        )
    return notes


def _is_whole(argument: PyTree) -> bool:
    return isinstance(argument, jax.ShapeDtypeStruct) and argument.dtype.kind == "i"


def describe_lanes(group: Group, arguments: Arguments) -> str:
    """Return the labels of a group, and the dtypes and shapes of its arguments, for a message.

    Example:
      >>> from jaxmom.sweeps import grid
      >>> (group,) = grid(beta=[0.5, 0.9]).groups()
      >>> describe_lanes(group, {"beta": jax.ShapeDtypeStruct((), "float32")})
      "{'beta': 'float32[]'}"
    """
    traced = {
        name: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", x)
        for name, x in arguments.items()
    }
    return f"{group.labels | traced}"
