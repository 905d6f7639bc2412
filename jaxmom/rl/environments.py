"""Processes from Gymnasium's toy-text environments, and random ones."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxmom.rl._checks import check_interval
from jaxmom.rl._gymnasium import (
    check_transitions,
    import_gymnasium,
    make_environment,
    read_wrappers,
)
from jaxmom.rl.mdp import Mdp

# The variants of Gymnasium's toy-text environments whose arrays are tested, as arguments of
# `from_gymnasium`. Moves diffuse in those on ice and in rain, and are deterministic in the others.
TOY_TEXT: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "slippery lake": ("FrozenLake-v1", {}),
    "large slippery lake": ("FrozenLake8x8-v1", {}),
    "slippery cliff": ("CliffWalkingSlippery-v1", {}),
    "dry lake": ("FrozenLake-v1", {"is_slippery": False}),
    "large dry lake": ("FrozenLake8x8-v1", {"is_slippery": False}),
    "cliff": ("CliffWalking-v1", {}),
    "taxi": ("Taxi-v4", {}),
    "taxi in rain": ("Taxi-v4", {"is_rainy": True}),
}


def from_gymnasium(environment: Any, **kwargs: Any) -> Mdp:
    """Return the arrays of a Gymnasium environment that states its transitions as ``unwrapped.P``.

    FrozenLake, CliffWalking and Taxi do, in all their variants but one. Branches keep Gymnasium's
    order, even where two lead to the same state, so that `step` maps a uniform number to the same
    branch as Gymnasium.

    Wrappers that check, count or render are ignored, and TimeLimit gives its limit. All
    others are refused by name, because arrays of the environment beneath would not be those of the
    wrapped one.

    Args:
      environment: The name of an environment, such as "FrozenLake-v1", or an environment.
      **kwargs: For `gymnasium.make`: ``is_slippery``, ``map_name``, ``desc``, ``is_rainy``, ...

    Returns:
      An `Mdp`, with the time limit of the environment's TimeLimit: by name, 100 for FrozenLake-v1
      whatever its map, 200 for FrozenLake8x8-v1 and Taxi-v4, none for CliffWalking-v1.

    Raises:
      ImportError: Gymnasium is missing; it is the extra ``jaxmom[rl]``.
      TypeError: The environment is neither a name nor a `gymnasium.Env`.
      ValueError: The environment is deprecated, does not state its transitions (Blackjack), or
        takes other transitions than it states (Taxi with a fickle passenger, a wrapper of rewards,
        a subclass with a `step` of its own).

    Example:
      >>> from jaxmom import rl
      >>> lake = rl.from_gymnasium("FrozenLake-v1")  # doctest: +SKIP
      >>> lake.states, lake.actions, lake.branches, lake.time_limit  # doctest: +SKIP
      (16, 4, 3, 100)
    """
    gymnasium = import_gymnasium()
    if isinstance(environment, str):
        environment = make_environment(gymnasium, environment, kwargs)
    elif kwargs:
        raise ValueError(
            f"{sorted(kwargs)} are arguments of gymnasium.make: give the environment by name, or "
            "make it with them."
        )
    if not isinstance(environment, gymnasium.Env):
        raise TypeError(
            "from_gymnasium takes the name of an environment or a gymnasium.Env, not a "
            f"{type(environment).__name__}."
        )
    bare = environment.unwrapped
    time_limit = read_wrappers(gymnasium, environment)
    check_transitions(bare, type(bare).__name__ if bare.spec is None else bare.spec.id)
    table = [[bare.P[s][a] for a in range(len(bare.P[s]))] for s in range(len(bare.P))]
    lake = (bare.nrow, bare.ncol) if hasattr(bare, "nrow") else None
    grid = getattr(bare, "shape", lake)
    return Mdp(
        *_pad_branches(table),
        start=np.asarray(bare.initial_state_distrib, np.float64),
        time_limit=time_limit,
        grid=(int(grid[0]), int(grid[1])) if grid else None,
    )


def random_mdp(
    key: jax.Array,
    states: int,
    actions: int,
    branches: int = 3,
    *,
    termination: float = 0.0,
    time_limit: int | None = None,
) -> Mdp:
    """Return a random process: uniform next states, Dirichlet probabilities, normal rewards.

    Args:
      key: A JAX key; the same key gives the same process.
      states: S.
      actions: A.
      branches: K, at most S; the next states of one pair are different.
      termination: The share of branches that end the episode.
      time_limit: The time limit of the episodes, which start in any state.

    Returns:
      An `Mdp`.

    Raises:
      ValueError: There are more branches than states, fewer than 1 of anything, or `termination`
        is outside [0, 1].
      TypeError: The key is traced.

    Source: the Garnet processes of Bhatnagar, Sutton, Ghavamzadeh and Lee 2009 (Automatica 45).

    Example:
      >>> import jax
      >>> from jaxmom import rl
      >>> rl.random_mdp(jax.random.key(0), states=5, actions=2).reward.shape
      (5, 2, 3)
    """
    if min(states, actions, branches) < 1 or branches > states:
        raise ValueError(
            f"a process needs a state, an action, and from 1 to states={states} branches; got "
            f"actions={actions} and branches={branches}."
        )
    if isinstance(key, Tracer):
        raise TypeError(
            "a random process is made on the host: make it outside of jit, vmap and sweeps, and "
            "close over it."
        )
    check_interval("termination", termination, 0, 1)
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    shape = (states, actions, branches)
    ranks = random.random((states, actions, states)).argsort(axis=-1)
    return Mdp(
        next_state=ranks[..., :branches],
        probability=random.dirichlet(np.ones(branches), shape[:2]),
        reward=random.standard_normal(shape),
        terminated=random.random(shape) < termination,
        start=np.full(states, 1 / states),
        time_limit=time_limit,
    )


def _pad_branches(table: list[list[list[tuple[float, int, float, bool]]]]) -> list[np.ndarray]:
    """Next states, probabilities, rewards and ends [S, A, K], padded by branches of no weight."""
    most = max(len(branches) for actions in table for branches in actions)
    blank = (0.0, 0, 0.0, True)
    rows = [[b + [blank] * (most - len(b)) for b in actions] for actions in table]
    probability, state, reward, terminated = (
        np.array([[[branch[i] for branch in b] for b in actions] for actions in rows])
        for i in range(4)
    )
    return [state, probability, reward, terminated]
