"""Q-learning is the tutorial's loop in real Gymnasium, and its fast paths are its plain one."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import rl
from jaxmom.rl import tables as layout
from jaxmom.rl import words as random

GAMMA = 0.99
STEPS = 3000
UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}  # as `jaxmom.sweep` compiles


def made(name, **kwargs):
    pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")
    return rl.from_gymnasium(name, **kwargs)


@functools.cache
def environment(name, **kwargs):
    return made(name, **kwargs)


@pytest.fixture(scope="module")
def small():
    """A process with all that can happen, and no Gymnasium."""
    return rl.random_mdp(jax.random.key(3), 8, 3, termination=0.05, time_limit=20)


class Given:
    """A generator whose uniform numbers are those that it is told."""

    def __init__(self):
        self.next = 0.0

    def random(self):
        return self.next


def chosen(row, epsilon, word):
    """The action, in NumPy: explore by the size of a word, take a sixtieth by its product."""
    explores = np.float32(word >> 8) * np.float32(2.0**-24) < np.float32(epsilon)
    admitted = np.arange(len(row)) if explores else np.flatnonzero(row == row.max())
    sixtieth = 60 * (int(word) * 0x9E3779B9 % 2**32) // 2**32
    return admitted[sixtieth * len(admitted) // 60]


def words_of(key, table, steps):
    reset_key, walk_key = jax.random.split(key)
    blocks = jax.vmap(lambda n: random.block(walk_key, n, table.words))(
        jnp.arange(-(-steps // 16), dtype=jnp.int32)
    )
    first = int(jax.random.bits(reset_key, (), jnp.uint32))
    return first, np.asarray(blocks).reshape(-1, table.words)[:steps]


def tutorial(name, key, alpha, beta, epsilon, steps, kwargs):
    """The tutorial's loop in Gymnasium's interface, which gets its uniforms from our words."""
    import gymnasium

    table = layout.tables(environment(name, **kwargs), float)
    env = gymnasium.make(name, disable_env_checker=True, **kwargs)
    env.reset(seed=0)
    given = env.unwrapped.np_random = Given()
    first, words = words_of(key, table, steps)
    given.next = (first + 0.5) / 2**32
    state, _ = env.reset()
    q = np.zeros((table.states, table.actions))
    v = np.zeros_like(q)
    for word in words:
        action = chosen(q[state], epsilon, word[0])
        given.next = (word[1 if table.slots > 1 else 0] + 0.5) / 2**32
        following, reward, terminated, truncated, _ = env.step(int(action))
        target = reward + GAMMA * q[following].max() * (not terminated)
        v[state, action] = beta * v[state, action] + alpha * (target - q[state, action])
        q[state, action] += v[state, action]
        state = following
        if terminated or truncated:
            given.next = (word[-1] + 0.5) / 2**32
            state, _ = env.reset()
    return q


@pytest.mark.parametrize(
    ("name", "kwargs", "path"),
    [
        ("FrozenLake-v1", {}, "plain"),
        ("FrozenLake-v1", {}, "fast"),
        ("FrozenLake-v1", {"is_slippery": False}, "fast"),
        ("CliffWalking-v1", {}, "fast"),
        ("Taxi-v4", {}, "fast"),
        ("Taxi-v4", {"is_rainy": True}, "plain"),
        ("Taxi-v4", {"is_rainy": True}, "fast"),
    ],
)
def test_it_is_the_loop_in_gymnasium(name, kwargs, path):
    """To the bit: nothing is contracted, and equal values are equal in both."""
    mdp, key = environment(name, **kwargs), jax.random.key(7)
    run = rl.q_learning(mdp, rl.lazy_momentum(0.03, 0.6), key, steps=STEPS, path=path)
    expected = tutorial(name, key, 0.03, 0.6, 0.1, STEPS, kwargs)
    assert np.count_nonzero(expected) > 3
    np.testing.assert_array_equal(run.q, expected)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4"])
def test_bits_do_not_depend_on_the_program(name):
    """Alone, in 3 or 33 lanes, its numbers constants or not: rounding is that of IEEE 754."""
    mdp = environment(name)

    def run(beta, seed):
        rule = rl.lazy_momentum(0.03, beta)
        return rl.q_learning(mdp, rule, jax.random.key(seed), steps=STEPS, epsilon=0.1).q

    alone = run(0.7, 2)
    np.testing.assert_array_equal(jax.jit(lambda: run(0.7, 2))(), alone)
    for lanes in (3, 33):
        betas, seeds = jnp.linspace(0.0, 0.9, lanes).at[2].set(0.7), jnp.arange(lanes)
        np.testing.assert_array_equal(jax.jit(jax.vmap(run))(betas, seeds)[2], alone)


RULES = {
    "lazy": rl.lazy_momentum(0.1, 0.6),
    "lazy, scheduled": rl.lazy_momentum(jm.schedules.linear(0.1, 0.01, STEPS), 0.6),
    "dense": rl.dense_momentum(0.1, 0.6),
    "dense, no memory": rl.dense_momentum(0.1, 0.0),
    "dense, long memory": rl.dense_momentum(0.002, 0.995),
}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "lazy"])
def test_the_fast_path_gives_the_numbers_of_the_plain_one(rule, small):
    """Every record, to rounding: the plain path adds up in another order."""
    fast, plain = (
        jax.jit(
            jax.vmap(
                lambda key, path=path: rl.q_learning(
                    small, RULES[rule], key, steps=STEPS, epsilon=0.3, every=1000, path=path
                )
            )
        )(jax.random.split(jax.random.key(0), 3))
        for path in ("fast", "plain")
    )
    assert float(jnp.abs(plain.q).max()) > 1
    for name in plain._fields:
        mine, theirs = getattr(fast, name), getattr(plain, name)
        exact = name in ("steps", "finished", "lengths", "diverged_at")
        np.testing.assert_allclose(mine, theirs, rtol=0 if exact else 1e-11, err_msg=name)


def test_dense_paths_agree_in_the_mean_where_equal_values_part_them():
    """On the cliff, the rounding of what is made up for decides between equal values."""
    mdp, keys = environment("CliffWalking-v1"), jax.random.split(jax.random.key(0), 300)
    fast, plain = (
        jax.jit(
            jax.vmap(
                lambda key, path=path: rl.q_learning(
                    mdp, rl.dense_momentum(0.05, 0.5), key, steps=2000, path=path
                ).reward[-1]
            )
        )(keys)
        for path in ("fast", "plain")
    )
    assert (fast != plain).any()
    error = np.hypot(fast.std(), plain.std()) / np.sqrt(300)
    assert abs(fast.mean() - plain.mean()) < 4 * error


def test_lazy_is_equal_bit_for_bit(small):
    fast, plain = (
        rl.q_learning(small, RULES["lazy"], jax.random.key(1), steps=STEPS, path=path).q
        for path in ("fast", "plain")
    )
    np.testing.assert_array_equal(fast, plain)


def test_in_float32_the_paths_differ_by_rounding(small):
    """Within 1e-4 of the largest entry after 3000 steps: decisions are the same."""
    initial = jnp.zeros((8, 3), jnp.float32)
    fast, plain = (
        rl.q_learning(
            small, RULES["dense"], jax.random.key(1), steps=STEPS, path=path, initial=initial
        )
        for path in ("fast", "plain")
    )
    assert fast.q.dtype == plain.q.dtype == jnp.float32
    assert fast.finished == plain.finished
    np.testing.assert_allclose(fast.q, plain.q, atol=1e-4 * float(plain.max_abs_q[-1]))


def test_dense_is_optax_sgd(small):
    runs = [
        rl.q_learning(small, rule, jax.random.key(2), steps=STEPS, path="plain").q
        for rule in (rl.dense_momentum(0.1, 0.6), optax.sgd(0.1, momentum=0.6))
    ]
    np.testing.assert_allclose(*runs, atol=1e-12)


def lazy_trace(beta):
    """The other statement of the lazy rule: a masked `optax.trace`."""

    def init(params):
        return jnp.zeros_like(params)

    def update(updates, state, params=None, *, visited, **extra):
        moved = jnp.where(visited, beta * state + updates, state)
        return jnp.where(visited, moved, 0.0), moved

    return optax.GradientTransformationExtraArgs(init, update)


def test_lazy_is_a_masked_trace_and_pid(small):
    masked = optax.chain(lazy_trace(0.6), optax.scale(-0.1))
    for other in (masked, rl.lazy_pid(0.1, kp=1.0, ki=0.0, kd=6.0)):
        runs = [
            rl.q_learning(small, rule, jax.random.key(2), steps=STEPS, path="plain").q
            for rule in (rl.lazy_momentum(0.1, 0.6), other)
        ]
        np.testing.assert_allclose(*runs, atol=1e-12)


def test_the_pid_rule_is_the_paper_s(small):
    """Plain loop over visits, all gains at once."""
    mu, kp, ki, kd, alpha, beta = 0.1, 0.9, 0.2, 0.3, 0.05, 0.95
    rule = rl.lazy_pid(mu, kp, ki, kd, alpha, beta)
    state = rule.init(jnp.zeros(4))
    ours = jnp.zeros(4)
    q, previous, z = np.zeros(4), np.zeros(4), np.zeros(4)
    noise = np.random.default_rng(0)
    for _ in range(60):
        i, difference = noise.integers(4), noise.standard_normal()
        visited = jnp.arange(4) == int(i)
        gradient = jnp.where(visited, -difference, 0.0)
        updates, state = rule.update(gradient, state, visited=visited)
        ours = ours + updates
        z[i] = beta * z[i] + alpha * difference
        now = q[i]
        q[i] += mu * (kp * difference + ki * z[i]) + mu * kd * (now - previous[i])
        previous[i] = now
    np.testing.assert_allclose(ours, q, rtol=1e-12)


def test_step_sizes_count_the_visits_of_their_entry():
    polynomial, rescaled = rl.visit_descent(0.6), rl.visit_descent(1.0, scale=0.01)
    for rule, size in (
        (polynomial, lambda n: (1 + n) ** -0.6),
        (rescaled, lambda n: 1 / (1 + n / 100)),
    ):
        state, visits = rule.init(jnp.zeros(3)), np.zeros(3)
        for i in (0, 1, 0, 0, 2, 1):
            visited = jnp.arange(3) == i
            updates, state = rule.update(jnp.full(3, -1.0), state, visited=visited)
            expected = np.where(np.arange(3) == i, size(visits), 0.0)
            np.testing.assert_allclose(updates, expected, rtol=1e-12)
            visits[i] += 1


def test_autodiff_finds_minus_the_difference():
    """The semi-gradient, by hand: at the visited entry alone, and nothing through the target."""
    q = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))
    for terminated in (False, True):
        seen = rl.Transition(*map(jnp.asarray, (2, 1, 0.7, 2, terminated)))
        expected = np.zeros((5, 3))
        expected[2, 1] = -(0.7 + GAMMA * float(q[2].max()) * (not terminated) - float(q[2, 1]))
        np.testing.assert_allclose(jax.grad(rl.td_loss)(q, seen, GAMMA), expected, atol=1e-15)


def corridor(time_limit=None, terminated=False):
    """Two states in a line; the second leads to itself, or ends."""
    return rl.Mdp(
        next_state=[[[1]], [[1]]],
        probability=[[[1.0]], [[1.0]]],
        reward=[[[0.0]], [[1.0]]],
        terminated=[[[False]], [[terminated]]],
        start=[1.0, 0.0],
        time_limit=time_limit,
    )


def test_a_termination_has_no_future_even_when_values_begin_high():
    run = rl.q_learning(
        corridor(terminated=True), optax.sgd(0.5), jax.random.key(0), steps=400, initial=50.0
    )
    np.testing.assert_allclose(run.q[:, 0], [GAMMA, 1.0], atol=1e-9)


def test_a_truncation_bootstraps():
    """Cut after every second step, the second state still is worth 1 / (1 - gamma)."""
    run = rl.q_learning(
        corridor(time_limit=2), optax.sgd(0.5), jax.random.key(0), steps=10_000, discount=0.9
    )
    np.testing.assert_allclose(run.q[:, 0], [9.0, 10.0], atol=1e-9)
    assert int(run.finished[-1]) == 5000


def bandit(actions, reward=0.0):
    shape = (1, actions, 1)
    ends = np.ones(shape, bool)
    return rl.Mdp(np.zeros(shape, int), np.ones(shape), np.full(shape, reward), ends, [1.0])


@pytest.mark.parametrize("actions", [2, 3, 5, 6, 9])
def test_ties_are_broken_evenly(actions):
    """Nine actions take the path without a table. Two standard errors are 1 % of the mean."""
    table = layout.tables(bandit(actions), float)
    words = jax.random.bits(jax.random.key(0), (40_000 * actions,), jnp.uint32)
    row = jnp.where(jnp.arange(actions) == 1, -1.0, 2.0)
    pick = jax.jit(jax.vmap(lambda e, w: layout.choose(table, row, e, w), (None, 0)))
    for epsilon in (0.0, 0.3, 1.0):
        share = np.bincount(pick(jnp.float32(epsilon), words), minlength=actions) / len(words)
        expected = np.full(actions, (1 - epsilon) / (actions - 1) + epsilon / actions)
        expected[1] = epsilon / actions
        np.testing.assert_allclose(share, expected, atol=0.02 / actions)


def test_a_choice_is_the_same_for_a_constant_epsilon(small):
    """And for a traced one: no compiler can round anything here."""
    table, epsilon = layout.tables(small, float), np.float32(0.1)
    words = jax.random.bits(jax.random.key(0), (100_000,), jnp.uint32)
    row = jnp.array([1.0, 0.0, 1.0])
    traced = jax.jit(jax.vmap(lambda e, w: layout.choose(table, row, e, w), (None, 0)))
    constant = jax.jit(jax.vmap(lambda w: layout.choose(table, row, jnp.float32(0.1), w)))
    chosen_here = [chosen(np.array([1.0, 0.0, 1.0]), epsilon, word) for word in np.asarray(words)]
    np.testing.assert_array_equal(traced(epsilon, words), constant(words))
    np.testing.assert_array_equal(constant(words), chosen_here)


def test_epsilon_is_a_schedule_of_the_step(small):
    """Greedy in the first half, uniform in the second: both halves are those of constants."""
    key, half = jax.random.key(5), 1600
    schedule = jm.schedules.join([0.0, 1.0], [half])
    both = rl.q_learning(small, RULES["lazy"], key, steps=2 * half, epsilon=schedule, every=half)
    greedy = rl.q_learning(small, RULES["lazy"], key, steps=2 * half, epsilon=0.0, every=half)
    assert both.max_abs_q[0] == greedy.max_abs_q[0]
    assert both.reward[0] == greedy.reward[0]
    assert both.reward[1] != greedy.reward[1]


def learned_by_episodes(mdp, key, epsilon, alpha, beta, steps):
    """A plain loop whose epsilon and alpha are functions of the episode; the words are ours."""
    table = layout.tables(mdp, float)
    first, words = words_of(key, table, steps)
    follow = jax.jit(functools.partial(layout.follow, table))
    state, elapsed, episode = int(layout.first(table, jnp.uint32(first))), 0, 0
    q, v = np.zeros((2, mdp.states, mdp.actions))
    for word in words:
        action = chosen(q[state], epsilon(episode), word[0])
        answer = follow(jnp.int32(state), jnp.int32(action), jnp.uint32(word[1]))
        following, reward, terminated = (x.item() for x in answer)
        difference = reward + GAMMA * q[following].max() * (not terminated) - q[state, action]
        v[state, action] = beta * v[state, action] + alpha(episode) * difference
        q[state, action] += v[state, action]
        state, elapsed = following, elapsed + 1
        if terminated or elapsed >= mdp.time_limit:
            state, elapsed = int(layout.first(table, jnp.uint32(word[-1]))), 0
            episode += 1
    return q, episode


@pytest.mark.parametrize("path", ["plain", "fast"])
def test_schedules_may_count_episodes(small, path):
    """Those of epsilon and alpha, in a plain loop; their values are exact, and so are the bits."""
    epsilon, alpha = jm.schedules.linear(1.0, 0.0, 64), jm.schedules.linear(0.5, 0.25, 128)
    key, beta = jax.random.key(6), 0.25
    run = rl.q_learning(
        small,
        rl.lazy_momentum(alpha, beta),
        key,
        steps=STEPS,
        epsilon=epsilon,
        clock="episode",
        path=path,
    )
    expected, episodes = learned_by_episodes(small, key, epsilon, alpha, beta, STEPS)
    assert episodes == run.finished[-1] > 128
    np.testing.assert_array_equal(run.q, expected)


def test_schedules_of_all_optimizers_of_ours_count_episodes(small):
    """Dense momentum has no fast path under a schedule; optax's own schedules count updates."""
    rate = jm.schedules.linear(0.1, 0.02, 50)

    def learned(optimizer, clock):
        run = rl.q_learning(small, optimizer, jax.random.key(6), steps=640, clock=clock)
        return np.asarray(run.q)

    ours, chained = (
        learned(rule, "episode")
        for rule in (rl.dense_momentum(rate, 0.5), jm.heavy_ball(rate, 0.5))
    )
    np.testing.assert_allclose(chained, ours, atol=1e-12)
    lifted = jm.lift(optax.sgd)(rate)
    steps = learned(lifted, "step")
    np.testing.assert_allclose(learned(optax.sgd(rate), "episode"), steps, atol=1e-12)
    assert abs(learned(lifted, "episode") - steps).max() > 0.1


def test_records_do_not_change_a_run(small):
    """Words belong to steps, whatever the records are: every 7 or 16."""
    runs = [
        rl.q_learning(small, RULES["dense"], jax.random.key(5), steps=100, every=every)
        for every in (7, 16)
    ]
    assert [len(run.steps) for run in runs] == [15, 7]
    assert runs[0].steps.tolist() == [*range(7, 100, 7), 100]
    np.testing.assert_array_equal(runs[0].q, runs[1].q)
    np.testing.assert_allclose(runs[0].reward.sum(), runs[1].reward.sum(), rtol=1e-12)


@pytest.mark.parametrize("rng", ["threefry", "xoshiro"])
def test_a_budget_of_episodes(small, rng):
    """Returns and lengths of each episode; then nothing moves."""
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(5), episodes=150, rng=rng)
    assert int(run.finished[-1]) == 150
    assert int(run.lengths.sum()) == int(run.steps[-1]) < 150 * 20
    assert 1 <= int(run.lengths.min()) <= int(run.lengths.max()) == 20
    np.testing.assert_allclose(run.returns.sum(), run.reward.sum(), rtol=1e-9)
    steps = int(run.steps[-1])
    same = rl.q_learning(small, RULES["lazy"], jax.random.key(5), steps=steps, rng=rng)
    np.testing.assert_array_equal(run.q, same.q)


def test_steps_end_a_budget_of_episodes(small):
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(5), episodes=150, steps=100)
    done = int(run.finished[-1])
    assert int(run.steps[-1]) == 100
    assert jnp.isnan(run.returns).tolist() == [False] * done + [True] * (150 - done)
    assert (run.lengths[done:] == -1).all()


def test_a_diverged_lane_is_frozen_and_its_neighbors_are_not(small):
    def run(alpha):
        return rl.q_learning(
            small, rl.lazy_momentum(alpha, 0.9), jax.random.key(1), steps=2000, divergence=100.0
        )

    both = jax.vmap(run)(jnp.array([1.0, 0.001]))
    alone = run(0.001)
    assert int(both.diverged_at[0]) > 0
    assert int(both.diverged_at[1]) == -1
    assert float(both.max_abs_q[0, -1]) <= 100
    assert int(both.steps[0, -1]) == int(both.diverged_at[0]) + 1
    np.testing.assert_allclose(both.q[1], alone.q, rtol=1e-12)


def test_double_q_is_the_paper_s_loop(small):
    """Two tables in NumPy, fed with the words of the run; the coin is the lowest bit."""
    key, steps, alpha = jax.random.key(4), 2000, 0.2
    table = layout.tables(small, float)
    first, words = words_of(key, table, steps)
    state, elapsed, q = int(layout.first(table, jnp.uint32(first))), 0, np.zeros((2, 8, 3))
    follow = jax.jit(functools.partial(layout.follow, table))
    for word in words:
        action = chosen(q[0, state] + q[1, state], 0.3, word[0])
        answer = follow(jnp.int32(state), jnp.int32(action), jnp.uint32(word[1]))
        following, reward, terminated = (x.item() for x in answer)
        coin = int(word[0]) & 1
        best = q[coin, following].argmax()
        later = 0.0 if terminated else GAMMA * q[1 - coin, following, best]
        q[coin, state, action] += alpha * (reward + later - q[coin, state, action])
        state, elapsed = following, elapsed + 1
        if terminated or elapsed >= 20:
            state, elapsed = int(layout.first(table, jnp.uint32(word[-1]))), 0
    run = rl.q_learning(small, optax.sgd(alpha), key, steps=steps, epsilon=0.3, double=True)
    np.testing.assert_allclose(run.q, q.mean(0), rtol=1e-12, atol=1e-12)


def test_rmse_leaves_out_what_is_nan(small):
    target = np.full((8, 3), np.nan)
    target[2, 1], target[3, 0] = 1.0, -1.0
    run = rl.q_learning(small, RULES["lazy"], jax.random.key(0), steps=64, target=target)
    expected = np.sqrt(((run.q[2, 1] - 1) ** 2 + (run.q[3, 0] + 1) ** 2) / 2)
    np.testing.assert_allclose(run.rmse[-1], expected, rtol=1e-12)


def test_nothing_is_compiled_anew_for_new_numbers(small):
    traces = []

    @jax.jit
    def run(beta, epsilon, discount, key):
        traces.append(1)
        rule = rl.lazy_momentum(0.01, beta)
        return rl.q_learning(small, rule, key, steps=64, epsilon=epsilon, discount=discount).q

    one = run(0.5, 0.1, 0.9, jax.random.key(0))
    other = run(0.6, 0.2, 0.8, jax.random.key(1))
    assert len(traces) == 1
    assert (one != other).any()


def test_betas_share_their_random_numbers(small):
    """At epsilon 1, the walk is the same for all betas."""
    betas = jnp.array([0.0, 0.9])
    runs = jax.vmap(
        lambda beta: rl.q_learning(
            small, rl.lazy_momentum(0.01, beta), jax.random.key(0), steps=640, epsilon=1.0
        )
    )(betas)
    assert runs.reward[0] == runs.reward[1]
    assert (runs.q[0] != runs.q[1]).any()


TABLE_SIZE, LANES = 200 * 4, 8


@pytest.mark.parametrize("rule", ["lazy", "dense"])
@pytest.mark.parametrize("rng", ["threefry", "xoshiro"])
def test_no_table_is_copied_in_the_loop(rule, rng):
    """Whatever is copied per step is smaller than a table of one lane."""
    mdp = rl.random_mdp(jax.random.key(0), 200, 4)
    sizes = copied_in_loops(lambda key: rl.q_learning(mdp, RULES[rule], key, steps=320, rng=rng).q)
    assert max(sizes, default=0) < TABLE_SIZE


def test_a_table_that_is_copied_in_the_loop_is_seen():
    """The control: with the last table kept as well, as SpeedyQ would, XLA copies in each step."""

    def run(key):
        def step(tables, count):
            q, before = tables
            at = count * 7 % TABLE_SIZE
            moved = q[at] + 0.1 * (q[at + 1] - before[at + 1]) + 1.0
            return (q.at[at].set(moved), q), None

        tables = (jax.random.normal(key, (TABLE_SIZE,)),) * 2
        return jax.lax.scan(step, tables, jnp.arange(320, dtype=jnp.int32))[0]

    assert max(copied_in_loops(run)) >= TABLE_SIZE


def copied_in_loops(function):
    """The sizes of all arrays that are copied in the body of a loop; one loop scatters."""
    options = UNDIVIDED if jax.default_backend() == "cpu" else None
    run = jax.jit(jax.vmap(function), compiler_options=options)
    text = run.lower(jax.random.split(jax.random.key(0), LANES)).compile().as_text()
    bodies = set(re.findall(r"body=(%[\w.-]+)", text))
    loops = [body for name, body in computations(text).items() if name in bodies]
    assert any("scatter" in body for body in loops)
    shapes = re.findall(r"= \w+\[([\d,]*)\][^ ]* copy\(", "\n".join(loops))
    return [np.prod([int(n) for n in shape.split(",") if n]) for shape in shapes]


def computations(text):
    """The computations of an HLO module, by name."""
    parts = re.split(r"\n(?=(?:ENTRY )?%[\w.-]+ \()", text)
    return {part.removeprefix("ENTRY ").split(" ")[0]: part for part in parts}


SWEPT = rl.random_mdp(jax.random.key(3), 8, 3, termination=0.05, time_limit=20)


def swept(beta, seed):
    """A lane of a sweep."""
    rule, key = rl.lazy_momentum(0.03, beta), jax.random.key(seed)
    run = rl.q_learning(SWEPT, rule, key, steps=640, every=160)
    return {"q": run.q, "largest": run.max_abs_q, "diverged_at": run.diverged_at}


AXES = {"beta": np.linspace(0, 0.9, 5), "seed": range(7)}


def test_a_sweep_of_q_learning_is_a_loop_of_it():
    runs = jm.sweep(swept, jm.grid(**AXES), width=4, progress=False)
    alone = jax.jit(swept)
    for beta in AXES["beta"]:
        for seed in (0, 6):
            cell, one = runs.sel(beta=beta, seed=seed), alone(beta, seed)
            np.testing.assert_array_equal(cell.q, one["q"])


SCRIPT = """
import sys, jax, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
sys.path.insert(0, sys.argv[1])
import jaxmom as jm
from test_q_learning import AXES, swept
runs = jm.sweep(swept, jm.grid(**AXES), width=4, progress=False)
assert runs.attrs["devices"] == 2
np.savez(sys.argv[2], **{name: runs[name].values for name in runs})
"""


def test_two_devices_have_the_bits_of_one(tmp_path):
    path = tmp_path / "runs.npz"
    here = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", SCRIPT, here, path], check=True, timeout=300)
    one = jm.sweep(swept, jm.grid(**AXES), width=4, progress=False)
    with np.load(path) as two:
        assert set(two) == set(one)
        for name in two:
            np.testing.assert_array_equal(two[name], one[name])


def test_xoshiro_is_the_published_one():
    """The first words of xoshiro128++ from the state 1, 2, 3, 4, as the reference program has."""
    state = tuple(jnp.uint32(n) for n in (1, 2, 3, 4))
    _, words = random.several(state, 4)
    assert [int(word) for word in words] == reference_xoshiro([1, 2, 3, 4], 4)
    assert int(words[0]) == 641


def reference_xoshiro(s, count):
    mask, out = 2**32 - 1, []

    def turn(x, k):
        return ((x << k) | (x >> (32 - k))) & mask

    for _ in range(count):
        out.append((turn((s[0] + s[3]) & mask, 7) + s[0]) & mask)
        t = (s[1] << 9) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turn(s[3], 11)
    return out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 10, "discount": 1.0, "time_limit": None}, "discount 1 needs a time limit"),
        ({"steps": 10, "discount": 1.1}, r"discount is in \[0, 1\], got 1.1"),
        ({"steps": 10, "epsilon": 1.1}, r"epsilon is a probability, in \[0, 1\]; got 1.1"),
        ({"steps": 10, "epsilon": -0.1}, "epsilon is a probability"),
        ({}, "give a budget"),
        ({"steps": 0}, "give a budget of at least 1"),
        ({"episodes": 3, "time_limit": None}, "may never end"),
        ({"steps": 10, "every": 0}, "every is at least 1"),
        ({"steps": 10, "initial": np.zeros(3)}, r"initial is a number or \[states, actions\]"),
        ({"steps": 10, "target": np.zeros((3, 8))}, "target is a number or"),
        ({"steps": 10, "optimizer": optax.polyak_sgd()}, "needs 'value'"),
        ({"steps": 10, "optimizer": optax.sgd(0.1), "path": "fast"}, "there is a fast path for"),
        ({"steps": 10, "path": "quick"}, "path is one of 'auto', 'plain', 'fast'; got 'quick'"),
        ({"steps": 10, "rng": "mt"}, "rng is one of 'threefry', 'xoshiro'"),
        ({"steps": 10, "clock": "day"}, "clock is one of 'step', 'episode'"),
    ],
)
def test_bad_input_gets_a_sentence(given, words):
    limit = given.pop("time_limit", 5)
    optimizer = given.pop("optimizer", RULES["lazy"])
    with pytest.raises(ValueError, match=words):
        rl.q_learning(corridor(limit), optimizer, jax.random.key(0), **given)


def test_rules_check_their_numbers():
    with pytest.raises(ValueError, match=r"beta is in \[0, 1\), got 1.0"):
        rl.lazy_momentum(0.1, 1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        rl.dense_momentum(-0.1)


def test_a_traced_process_is_refused(small):
    with pytest.raises(TypeError, match="close over it"):
        jax.jit(lambda m: rl.q_learning(m, RULES["lazy"], jax.random.key(0), steps=16).q)(small)


def test_iterations_of_the_synchronous_form_divide():
    mdp = rl.random_mdp(jax.random.key(0), 4, 2)
    with pytest.raises(ValueError, match="multiple of every"):
        rl.speedy_q_learning(mdp, jax.random.key(0), iterations=10, every=3)


def test_speedy_q_is_the_paper_s_update():
    """Without randomness, in NumPy: both backups, weighted by 1 / (k + 1)."""
    mdp = rl.random_mdp(jax.random.key(0), 6, 2, branches=1)
    q = previous = np.zeros((6, 2))

    def backup(q):
        return rl.bellman(mdp, q, 0.9)

    for k in range(20):
        a = 1 / (k + 1)
        now, then = backup(q), backup(previous)
        q, previous = q + a * (then - q) + (1 - a) * (now - then), q
    run = rl.speedy_q_learning(mdp, jax.random.key(0), iterations=20, discount=0.9)
    np.testing.assert_allclose(run.q, q, atol=1e-13)


ORDER = ("SpeedyQ", "polynomial", "rescaled", "linear")
# Median over 100 seeds of max |Q - Q*| on the slippery lake, after 100, 1000 and 10,000 iterations.
TABLE = {
    "SpeedyQ": (0.156, 0.0650, 0.0190),
    "polynomial": (0.316, 0.138, 0.0322),
    "rescaled": (0.468, 0.152, 0.0481),
    "linear": (0.523, 0.496, 0.464),
    "heavy ball": (0.399, 0.134, 0.0318),
}


def synchronous(mdp, rule, key, target):
    given = {"iterations": 10_000, "target": target, "every": 100}
    if rule == "SpeedyQ":
        return rl.speedy_q_learning(mdp, key, **given).error
    optimizer = {
        "polynomial": rl.visit_descent(0.6),
        "rescaled": rl.visit_descent(1.0, 1 - GAMMA),
        "linear": rl.visit_descent(1.0),
    }[rule]
    return rl.synchronous_q_learning(mdp, optimizer, key, **given).error


@pytest.mark.slow
def test_orderings_from_a_generative_model():
    """SpeedyQ, then the polynomial step, the rescaled one, and 1 / k far behind; 30 seeds."""
    mdp = environment("FrozenLake-v1")
    plan = rl.value_iteration(mdp, GAMMA)
    target = np.where(rl.reachable(mdp)[:, None], plan.q, np.nan)
    keys = jax.random.split(jax.random.key(0), 30)
    medians = {}
    for rule in ORDER:
        errors = jax.vmap(lambda key, rule=rule: synchronous(mdp, rule, key, target))(keys)
        medians[rule] = np.median(errors, axis=0)[[0, 9, 99]]
        # The spread of one seed is about a quarter of the median: 1.25 x 0.25 / sqrt(30), thrice.
        np.testing.assert_allclose(medians[rule], TABLE[rule], rtol=0.18)
    finals = [medians[rule][-1] for rule in ORDER]
    assert finals == sorted(finals)
    assert finals[-1] > 9 * finals[2]


# Episodes 401 to 500, beta -> mean return and its standard error at 1000 seeds (alpha 0.1).
SLIPPERY = {0.0: 0.090, 0.5: 0.179, 0.7: 0.192, 0.8: 0.186, 0.9: 0.091, 0.95: 0.033, 0.99: 0.023}
DRY = {0.0: 0.887, 0.5: 0.888, 0.7: 0.795, 0.8: 0.223}


def tutorial_lanes(mdp, betas, seeds, steps=None):
    """[betas, seeds] of the mean return of the last 100 episodes, and of the largest entry."""

    def one(beta, seed):
        run = rl.q_learning(
            mdp,
            rl.lazy_momentum(0.1, beta),
            jax.random.key(seed),
            episodes=500,
            steps=steps,
            rng="xoshiro",
            divergence=jnp.inf,
        )
        last = jnp.mean(run.returns[-100:])
        return {"last": last, "largest": run.max_abs_q[-1], "finished": run.finished[-1]}

    space = jm.grid(beta=np.array(betas), seed=range(seeds))
    runs = jm.sweep(one, space, width=500, progress=False)
    return [runs[name].values for name in ("last", "largest", "finished")]


def test_the_tutorial_on_the_slippery_lake():
    """0.9 ends where no momentum does, though 0.7 learned twice as much: 250 seeds, 4 errors."""
    returns, largest, _ = tutorial_lanes(environment("FrozenLake-v1"), tuple(SLIPPERY), 250)
    error = returns.std(axis=1) / np.sqrt(250)
    off = np.abs(returns.mean(axis=1) - list(SLIPPERY.values()))
    assert (off < 4 * np.hypot(error, 0.003)).all(), off / error
    assert (largest < 1e3).all()


def test_the_tutorial_diverges_on_the_dry_lake():
    """At beta 0.9, 995 of 1000 seeds; none below 0.8. Eight in 200 would be four errors off."""
    mdp = environment("FrozenLake-v1", is_slippery=False)
    returns, largest, _ = tutorial_lanes(mdp, (*DRY, 0.9), 200)
    error = returns[:-1].std(axis=1) / np.sqrt(200)
    assert (
        np.abs(returns[:-1].mean(axis=1) - list(DRY.values())) < 4 * np.hypot(error, 0.003)
    ).all()
    diverged = (~(largest <= 1e3)).sum(axis=1)
    assert (diverged[:3] == 0).all()
    assert diverged[3] <= 3
    assert diverged[4] >= 192


@pytest.mark.slow
def test_the_tutorial_on_cliff_and_taxi():
    """Cliff: -49 without momentum, and diverging at 0.9; Taxi: every seed diverges at 0.9."""
    cliff, taxi = environment("CliffWalking-v1"), environment("Taxi-v4")
    returns, largest, finished = tutorial_lanes(
        cliff, (0.0, 0.5, 0.7, 0.8, 0.9), 100, steps=100_000
    )
    off = np.abs(returns[:4].mean(axis=1) - [-49.1, -48.9, -48.8, -45.1])
    assert (off < 4 * np.hypot(returns[:4].std(axis=1) / 10, 0.3)).all()
    assert ((largest[4] > 1e3) & (finished[4] < 500)).mean() > 0.9
    returns, largest, _ = tutorial_lanes(taxi, (0.0, 0.5, 0.7, 0.8, 0.9), 50)
    off = np.abs(returns.mean(axis=1) - [-90.1, -37.7, -22.7, -80.6, -725])
    assert (off < 4 * np.hypot(returns.std(axis=1) / np.sqrt(50), 3)).all()
    assert (largest > 1e3).sum(axis=1).tolist() == [0, 0, 0, 0, 50]


# Taxi, 300,000 steps: median RMSE to Q* of 30 seeds at the step eta = alpha / (1 - beta).
RMSE = {
    ("lazy", 0.1, 0.0): 6.16,
    ("lazy", 0.1, 0.5): 6.83,
    ("lazy", 0.1, 0.9): 9.33,
    ("dense", 0.1, 0.9): 6.26,
    ("dense", 0.5, 0.9): 5.02,
    ("dense", 1.0, 0.9): 5.14,
}
LOST = {("lazy", 0.5, 0.9), ("lazy", 1.0, 0.9), ("lazy", 1.0, 0.7), ("dense", 1.0, 0.99)}


@pytest.mark.slow
def test_matched_steps_on_the_taxi():
    """Dense is plain Q-learning far beyond where lazy is lost; at the tutorial's numbers too."""
    mdp = environment("Taxi-v4")
    plan = rl.value_iteration(mdp, GAMMA)
    target = np.where(rl.reachable(mdp)[:, None], plan.q, np.nan)
    for kind, make in (("lazy", rl.lazy_momentum), ("dense", rl.dense_momentum)):
        cells = [cell for cell in (*RMSE, *LOST) if cell[0] == kind]

        def one(eta, beta, seed, make=make):
            run = rl.q_learning(
                mdp,
                make(eta * (1 - beta), beta),
                jax.random.key(seed),
                steps=300_000,
                target=target,
                divergence=1e4,
                rng="xoshiro",
            )
            return {"rmse": run.rmse[-1], "diverged_at": run.diverged_at}

        _, etas, betas = zip(*cells, strict=True)
        space = jm.paired(eta=np.array(etas), beta=np.array(betas)) * jm.grid(seed=range(30))
        runs = jm.sweep(one, space, width=300, progress=False)
        rmse, lost = (runs[name].values.reshape(-1, 30) for name in ("rmse", "diverged_at"))
        for i, cell in enumerate(cells):
            if cell in LOST:
                assert (lost[i] >= 0).all(), cell
            else:
                assert (lost[i] == -1).all(), cell
                # Medians of 30 seeds, theirs and ours, whose spread is about 4 %.
                np.testing.assert_allclose(np.median(rmse[i]), RMSE[cell], rtol=0.04)
