"""Checks that a Gymnasium environment, with its wrappers, does what its P states."""

from collections.abc import Mapping
from typing import Any

# Gymnasium's wrappers that keep the transitions: they check, count, render, or start the next
# episode. TimeLimit is one of them because its limit is read; every other override is refused.
_TRANSPARENT = (
    "AddWhiteNoise",
    "Autoreset",
    "HumanRendering",
    "ObstructView",
    "OrderEnforcing",
    "PassiveEnvChecker",
    "RecordEpisodeStatistics",
    "RecordVideo",
    "RenderCollection",
    "TimeLimit",
)
_DYNAMICS = ("step", "reset", "reward", "action", "observation")


def import_gymnasium() -> Any:
    """Import the extra, or raise an ImportError that names it."""
    try:
        import gymnasium
        import gymnasium.wrappers
    except ImportError as error:
        raise ImportError(
            "from_gymnasium needs Gymnasium, which is an extra: pip install 'jaxmom[rl]'."
        ) from error
    return gymnasium


def make_environment(gymnasium: Any, name: str, kwargs: dict[str, Any]) -> Any:
    """Make an environment by name; for a retired name, say which versions there are."""
    try:
        return gymnasium.make(name, **kwargs)
    except gymnasium.error.DeprecatedEnv as error:
        raise ValueError(
            f"Gymnasium has retired {name}: {error} "
            "(Taxi-v4, CliffWalking-v1 and FrozenLake-v1 are the versions with tested arrays)."
        ) from error


def read_wrappers(gymnasium: Any, environment: Any) -> int | None:
    """Return the time limit of an environment's wrappers.

    Raises:
      ValueError: A wrapper may change the transitions.
    """
    transparent = {getattr(gymnasium.wrappers, name, None) for name in _TRANSPARENT}
    limits, layer = [], environment
    while isinstance(layer, gymnasium.Wrapper):
        changed = _find_override(layer, gymnasium.Wrapper, transparent)
        inner = layer.env
        spaces = (layer.action_space, layer.observation_space)
        if changed or spaces != (inner.action_space, inner.observation_space):
            raise ValueError(
                f"the wrapper {type(layer).__name__} may change what the environment does (it has "
                f"its own {changed or 'spaces'}), but arrays can only state the transitions "
                "beneath it. Remove it, and change the arrays instead, as in "
                "dataclasses.replace(mdp, reward=...)."
            )
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            limits.append(int(layer._max_episode_steps))
        layer = inner
    return min(limits, default=None)


def _find_override(layer: Any, base: type, trusted: set[Any]) -> str | None:
    """Name the first method of the dynamics that a layer defines above `base`, if any."""
    classes = type(layer).__mro__[: type(layer).__mro__.index(base)]
    patched = [name for name in ("step", "reset") if name in vars(layer)]
    defined = (
        name for one in classes if one not in trusted for name in _DYNAMICS if name in vars(one)
    )
    return next(iter(patched), None) or next(defined, None)


def check_transitions(bare: Any, name: str) -> None:
    """Raise ValueError unless an environment without wrappers takes the transitions of its P."""
    if getattr(bare, "fickle_passenger", False):
        raise ValueError(
            f"{name} with fickle_passenger=True takes transitions that are not in its P, because "
            "they depend on a hidden flag; make it with fickle_passenger=False."
        )
    if not (hasattr(bare, "P") and hasattr(bare, "initial_state_distrib")):
        raise ValueError(
            f"{name} does not state its transitions (it has no unwrapped.P, or no "
            "initial_state_distrib), so it cannot become arrays. FrozenLake, CliffWalking and "
            "Taxi do; others can be built as rl.Mdp."
        )
    shipped = (c for c in type(bare).__mro__ if c.__module__.startswith("gymnasium.envs.toy_text"))
    base = next(shipped, None)
    changed = None if base is None else _find_override(bare, base, set())
    if changed:
        raise ValueError(
            f"{type(bare).__name__} has a {changed} of its own, so it may take other transitions "
            "than its P states; change P instead, or build the process as rl.Mdp."
        )
    spaces = (bare.observation_space, bare.action_space)
    states, actions = (getattr(space, "n", None) for space in spaces)
    starts = [int(getattr(space, "start", 0)) for space in spaces]
    if any(starts):
        raise ValueError(
            f"the spaces {spaces[0]} and {spaces[1]} of {name} start at {starts[0]} and "
            f"{starts[1]}, but arrays count states and actions from 0; give it spaces that start "
            "at 0, and a P that counts as they do."
        )
    if not (_counts_to(bare.P, states) and all(_counts_to(row, actions) for row in _rows(bare.P))):
        raise ValueError(
            f"the P of {name} does not fit its spaces {spaces[0]} and {spaces[1]}: it must state "
            "every action in every state, and count both from 0."
        )


def _rows(table: Any) -> list[Any]:
    return list(table.values() if isinstance(table, Mapping) else table)


def _counts_to(table: Any, size: int | None) -> bool:
    """Whether a table has the keys 0 to size - 1."""
    keys = table.keys() if isinstance(table, Mapping) else range(len(table))
    return size is not None and set(keys) == set(range(size))
