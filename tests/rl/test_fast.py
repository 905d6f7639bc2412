"""The fast paths give the numbers of the plain one, and copy no table."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_learning_loops import RULES, STEPS, environment

import jaxmom as jm
from jaxmom import rl
from jaxmom.rl._tabular.fast import make_learner
from jaxmom.rl._tabular.learners import Time

UNDIVIDED = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}  # as `jaxmom.sweep` compiles
TABLE_SIZE, LANES = 200 * 4, 8


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


def test_dense_paths_agree_in_the_mean_where_ties_part_them():
    """On the cliff, the rounding of the catch-up decides between equal values."""
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


def test_lazy_paths_are_equal_bit_for_bit(small):
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


@pytest.mark.parametrize("rule", ["lazy", "dense"])
@pytest.mark.parametrize("rng", ["threefry", "xoshiro"])
def test_no_table_is_copied_in_the_loop(rule, rng):
    """Whatever is copied per step is smaller than a table of one lane."""
    mdp = rl.random_mdp(jax.random.key(0), 200, 4)
    sizes = find_copies_in_loops(
        lambda key: rl.q_learning(mdp, RULES[rule], key, steps=320, rng=rng).q
    )
    assert max(sizes, default=0) < TABLE_SIZE


def test_sarsa_copies_no_table_either():
    """It reads the values before a step of learning, and where an episode ends also after it."""
    mdp = rl.random_mdp(jax.random.key(0), 200, 4, time_limit=100)
    sizes = find_copies_in_loops(
        lambda key: rl.sarsa(mdp, RULES["dense"], key, steps=320, rng="xoshiro").q
    )
    assert max(sizes, default=0) < TABLE_SIZE


def test_a_copied_table_is_seen():
    """The control: with the last table kept as well, as SpeedyQ would, XLA copies in each step."""

    def run(key):
        def step(tables, count):
            q, before = tables
            at = count * 7 % TABLE_SIZE
            moved = q[at] + 0.1 * (q[at + 1] - before[at + 1]) + 1.0
            return (q.at[at].set(moved), q), None

        tables = (jax.random.normal(key, (TABLE_SIZE,)),) * 2
        return jax.lax.scan(step, tables, jnp.arange(320, dtype=jnp.int32))[0]

    assert max(find_copies_in_loops(run)) >= TABLE_SIZE


def find_copies_in_loops(function):
    """The sizes of all arrays that are copied in the body of a loop; one loop scatters."""
    options = UNDIVIDED if jax.default_backend() == "cpu" else None
    run = jax.jit(jax.vmap(function), compiler_options=options)
    text = run.lower(jax.random.split(jax.random.key(0), LANES)).compile().as_text()
    bodies = set(re.findall(r"body=(%[\w.-]+)", text))
    loops = [body for name, body in split_computations(text).items() if name in bodies]
    assert any("scatter" in body for body in loops)
    shapes = re.findall(r"= \w+\[([\d,]*)\][^ ]* copy\(", "\n".join(loops))
    return [np.prod([int(n) for n in shape.split(",") if n]) for shape in shapes]


def split_computations(text):
    """The computations of an HLO module, by name."""
    parts = re.split(r"\n(?=(?:ENTRY )?%[\w.-]+ \()", text)
    return {part.removeprefix("ENTRY ").split(" ")[0]: part for part in parts}


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.9999, 0.999999])
def test_the_catch_up_keeps_its_digits_in_float32(beta, small):
    """A row's missed steps, against a loop in float64 that starts from the same float32 numbers."""
    start, v0 = jnp.zeros((8, 3), jnp.float32), 1.0
    rule = rl.dense_momentum(jnp.float32(0.1), jnp.float32(beta))
    learner = make_learner(rule, start, 0.9, jnp.inf, double=False, path="fast")
    memory = learner.start().at[:, 3:6].set(v0)
    for missed in (1, 2, 30, 1000):
        time = Time(jnp.int32(missed), jnp.int32(missed))
        exact, v = 0.0, v0
        for _ in range(missed):
            v *= float(np.float32(beta))
            exact += v
        np.testing.assert_allclose(learner.table(memory, time), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("rule", ["lazy", "dense"])
def test_narrow_tables_take_the_plain_path(rule, dtype, small):
    """Their velocities are float32, which a fast row does not hold."""
    auto, plain = (
        rl.q_learning(
            small, RULES[rule], jax.random.key(1), steps=64, path=path, initial=jnp.zeros((), dtype)
        ).q
        for path in ("auto", "plain")
    )
    assert auto.dtype == dtype
    np.testing.assert_array_equal(auto, plain)


def test_only_the_two_rules_are_taken_for_themselves(small):
    """What looks like them, by its names, gets the plain path."""
    assert not jnp.array_equal(
        *(
            rl.q_learning(small, rule(0.1, 0.6), jax.random.key(1), steps=500, every=100).q
            for rule in (rl.lazy_momentum, jm.heavy_ball)
        )
    )
    for other in (jm.heavy_ball(0.1, 0.6), jm.chain(RULES["lazy"]), jm.chain(RULES["dense"])):
        plain = rl.q_learning(small, other, jax.random.key(1), steps=64, path="plain")
        auto = rl.q_learning(small, other, jax.random.key(1), steps=64)
        np.testing.assert_array_equal(auto.q, plain.q)
        with pytest.raises(ValueError, match="there is a fast path for"):
            rl.q_learning(small, other, jax.random.key(1), steps=64, path="fast")
