"""Linear systems from code: the paper's matrices come out, and what is not linear is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import theory
from jaxmom.theory._linear_rules import LINEAR as LINEAR_KIND
from jaxmom.theory._linearity import Linearity, linearity_of

BETAS = jnp.array([0.0, 0.5, 0.9])

# Every linear method of jaxmom, and plain optax chains, at hyperparameters that suit [0.1, 4].
LINEAR = {
    "gradient_descent": jm.gradient_descent(0.3),
    "heavy_ball": jm.heavy_ball(0.3, beta=0.6),
    "ema_momentum": jm.ema_momentum(0.4, beta=0.8),
    "sgd": jm.sgd(0.2, momentum=0.7, dampening=0.3),
    "sgd nesterov": jm.sgd(0.2, momentum=0.7, nesterov=True),
    "sgd weight decay": jm.sgd(0.2, momentum=0.7, weight_decay=0.05),
    "nesterov": jm.nesterov(0.2, beta=0.75),
    "nesterov_strongly_convex": jm.nesterov_strongly_convex(mu=0.1, L=4.0),
    "qhm": jm.qhm(0.5, beta=0.9, nu=0.7),
    "aggmo": jm.aggmo(0.05, betas=(0.0, 0.6, 0.9)),
    "triple_momentum": jm.triple_momentum(mu=0.1, L=4.0),
    "optimistic_gradient": jm.optimistic_gradient(0.1, optimism=0.8),
    "mix": jm.chain(
        jm.mix([optax.identity(), optax.trace(0.5), optax.trace(0.9)], [0.2, 0.1, 0.05]),
        optax.scale(-0.3),
    ),
    "optax.sgd": optax.sgd(0.2, momentum=0.7),
    "optax.sgd nesterov": optax.sgd(0.2, momentum=0.7, nesterov=True),
    "optax ema": optax.chain(optax.ema(0.8, debias=False), optax.scale(-0.4)),
    "optax two traces": optax.chain(optax.trace(0.5), optax.trace(0.3), optax.scale(-0.1)),
    "optax.optimistic_gradient_descent": optax.optimistic_gradient_descent(0.1),
    "lifted": jm.lift(optax.sgd)(0.2, momentum=0.7),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_the_system_makes_the_steps_that_the_optimizer_makes(name):
    """From the optimizer's own start, on random gradients: the same params as the code's."""
    optimizer = LINEAR[name]
    system = theory.linearize(optimizer)
    gradients = np.random.default_rng(0).standard_normal(8)
    gradients[0] = 0.0  # an undamped first step is the clock's, and over
    params = jnp.zeros([])
    state, x = optimizer.init(params), np.zeros(len(system.names))
    for g in gradients:
        updates, state = optimizer.update(jnp.asarray(g), state, params)
        params = params + updates
        x = system.A @ x + system.B * g
        np.testing.assert_allclose(system.C @ x, params, rtol=0, atol=1e-13)
    assert system.names[0] == "params"
    assert system.A.dtype == jnp.float64


def test_it_is_the_filter_of_the_coefficients():
    """(A, B, C, D) of the paper's form that reads old buffers, with the learning rate."""
    system = theory.linearize(jm.aggmo(0.1, betas=(0.0, 0.6, 0.9)))
    c = jm.coefficients.aggmo(betas=(0.0, 0.6, 0.9)).reading_old()
    np.testing.assert_allclose(system.A[1:, 1:], np.diag(c.decay), atol=1e-15)
    np.testing.assert_allclose(system.B[1:], c.gain, atol=1e-15)
    np.testing.assert_allclose(system.A[0, 1:], -0.1 * c.read, atol=1e-15)
    np.testing.assert_allclose(system.B[0], -0.1 * c.direct, atol=1e-15)
    assert system.names == ("params", "buffers[0]", "buffers[1]", "buffers[2]")


def test_two_names_of_one_method_have_one_transfer_function():
    z = jnp.asarray(np.exp(1j * np.linspace(0.1, 3.1, 7)))
    response = jax.vmap(theory.transfer_function, (None, 0))
    pairs = [
        (jm.heavy_ball(0.1, beta=0.9), optax.sgd(0.1, momentum=0.9)),
        (jm.nesterov(0.1, beta=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True)),
        (jm.qhm(1.0, beta=0.9, nu=0.9), jm.nesterov(0.1, beta=0.9)),
        (jm.qhm(0.3, beta=0.9, nu=0.0), jm.gradient_descent(0.3)),
        (jm.optimistic_gradient(0.1), optax.optimistic_gradient_descent(0.1)),
        (jm.sgd(0.1, momentum=0.9), jm.heavy_ball(0.1, beta=0.9)),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(
            response(theory.linearize(one), z), response(theory.linearize(other), z), rtol=1e-12
        )


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_gains_are_those_of_the_catalogue(beta):
    a, b = 0.3, beta
    nesterov = jm.nesterov(a, beta=b)
    gains = {
        "heavy ball": (jm.heavy_ball(a, b), a / (1 - b), a / (1 + b)),
        "ema": (jm.ema_momentum(a, b), a, a * (1 - b) / (1 + b)),
        "nesterov": (nesterov, a / (1 - b), a * (1 + 2 * b) / (1 + b)),
        "qhm": (jm.qhm(a, b, nu=0.7), a, a * (0.3 + 0.7 * (1 - b) / (1 + b))),
        "aggmo": (jm.aggmo(a, (0.0, b)), a * (1 + 1 / (1 - b)) / 2, a * (1 + 1 / (1 + b)) / 2),
    }
    for optimizer, steady, alternating in gains.values():
        system = theory.linearize(optimizer)
        np.testing.assert_allclose(theory.dc_gain(system), steady, rtol=1e-12)
        np.testing.assert_allclose(theory.nyquist_gain(system), alternating, rtol=1e-12)
        np.testing.assert_allclose(theory.effective_learning_rate(optimizer), steady, rtol=1e-12)


def test_weight_decay_has_no_steady_step():
    """Params drawn to zero come to rest in a steady gradient."""
    system = theory.linearize(LINEAR["sgd weight decay"])
    np.testing.assert_allclose(theory.dc_gain(system), 0.0, atol=1e-13)
    # The response of params themselves, (z I - A)^-1, is that of the closed loop at curvature 0.05.
    plain = theory.linearize(jm.sgd(0.2, momentum=0.7))
    np.testing.assert_allclose(system.A, theory.iteration_matrix(plain, 0.05), rtol=0, atol=1e-15)


def test_minimal_drops_what_is_not_seen_and_not_reached():
    blind = jm.qhm(0.3, beta=0.9, nu=0.0)
    unread = theory.minimal(theory.linearize(blind))
    assert len(unread.names) == 1
    np.testing.assert_allclose(theory.spectral_radius(unread, 1.0), 0.7, rtol=1e-12)
    aggmo = theory.linearize(jm.aggmo(0.1, betas=(0.9, 0.9, 0.5)))  # two buffers are the same
    small = theory.minimal(aggmo)
    assert len(small.names) == 3
    for curvature in (0.5, 3.0):
        roots = np.sort_complex(theory.eigenvalues(aggmo, curvature))
        fewer = np.sort_complex(theory.eigenvalues(small, curvature))
        assert all(np.min(np.abs(roots - root)) < 1e-9 for root in fewer)


def test_schedule_free_and_lookahead_at_a_frozen_phase():
    """Schedule-Free is the filter of the catalogue at each step; lookahead pulls when it syncs."""
    free = optax.contrib.schedule_free_sgd(0.1, b1=0.9)
    system = theory.linearize(free, count=9)
    assert system.names == ("params", "z - params")
    c, b, rate = 1 / 10, 0.9, 0.1  # of step 9: y <- y + b c (z - y)/b ..., z <- z - rate g
    np.testing.assert_allclose(system.A, [[1.0, c], [0.0, 1 - c]], atol=1e-12)
    step = rate * (b * c + 1 - b)
    np.testing.assert_allclose(system.B, [-step, step - rate], atol=1e-12)
    pair = optax.LookaheadParams.init_synced(jnp.zeros([]))
    slow = optax.lookahead(optax.sgd(0.1), sync_period=5, slow_step_size=0.5)
    between, sync = (theory.linearize(slow, params=pair, count=count) for count in (0, 4))
    np.testing.assert_allclose(between.B, [-0.1, 0.1], atol=1e-15)
    np.testing.assert_allclose(sync.A, [[1.0, 0.5], [0.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(sync.B, [-0.05, 0.0], atol=1e-15)


def test_frozen_schedules():
    """At count t the system is that of the schedule's value there."""
    schedule = jm.schedules.linear(0.9, 0.5, steps=10)
    frozen = theory.linearize(jm.heavy_ball(0.1, beta=schedule), count=5)
    steady = theory.linearize(jm.heavy_ball(0.1, beta=0.7))
    np.testing.assert_allclose(frozen.A, steady.A, atol=1e-12)
    debiased = theory.linearize(jm.ema_momentum(0.1, beta=0.9, debias=True), count=jnp.int32(2))
    np.testing.assert_allclose(debiased.B[0], -0.1 * 0.1 / (1 - 0.9**3), rtol=1e-12)


def test_it_maps_and_compiles():
    def matrices(beta):
        return theory.linearize(jm.sgd(0.1, momentum=beta, dampening=0.5))

    batch = jax.jit(jax.vmap(matrices))(BETAS)
    assert batch.A.shape == (3, 2, 2)
    for i, beta in enumerate(BETAS):
        np.testing.assert_allclose(batch.A[i], matrices(beta).A, atol=1e-15)
    whole = jax.jit(theory.linearize)(jm.aggmo(0.1))
    np.testing.assert_allclose(whole.A, theory.linearize(jm.aggmo(0.1)).A, atol=1e-15)
    slope = jax.grad(lambda beta: matrices(beta).B[0])(0.5)
    np.testing.assert_allclose(slope, 0.0, atol=1e-15)
    slope = jax.grad(lambda beta: matrices(beta).A[0, 1])(0.5)
    np.testing.assert_allclose(slope, -0.1, rtol=1e-12)


def test_no_retrace_for_new_values():
    traces = []

    @jax.jit
    def radius(optimizer, curvature):
        traces.append(None)
        return theory.spectral_radius(optimizer, curvature)

    for beta in (0.1, 0.5, 0.9):
        radius(jm.heavy_ball(0.1, beta=beta), 2.0)
    assert len(traces) == 1


# What is not linear, with the name of the stage that breaks it.
NOT_LINEAR = {
    "scale_by_sign": jm.signum(0.1),
    "clip": optax.chain(optax.clip(1e6), optax.sgd(0.1)),
    "clip_by_global_norm": jm.chain(jm.lift(optax.clip_by_global_norm)(1.0), jm.heavy_ball(0.1)),
    "clip_by_block_rms": optax.chain(optax.clip_by_block_rms(1.0), optax.sgd(0.1)),
    "normalize_by_update_norm": optax.chain(optax.sgd(0.1), optax.normalize_by_update_norm()),
    "scale_by_adam": optax.adam(0.1),
    "scale_by_rms": optax.rmsprop(0.1),
    "scale_by_lion": optax.lion(0.1),
    "scale_by_trust_ratio": optax.lars(0.1),
    "scale_by_polyak": optax.polyak_sgd(),
    "momo": optax.contrib.momo(0.1),
    "add_noise": optax.chain(optax.add_noise(0.1, 0.1, 0), optax.sgd(0.1)),
    "keep_params_nonnegative": optax.chain(optax.sgd(0.1), optax.keep_params_nonnegative()),
}  # fmt: skip


@pytest.mark.parametrize("stage", NOT_LINEAR)
def test_what_is_not_linear_is_refused_by_name(stage):
    with pytest.raises(theory.NotLinearError, match=f"^{stage} is not linear.*fail to add up"):
        theory.linearize(NOT_LINEAR[stage])
    with pytest.raises(theory.NotLinearError, match=stage):
        theory.linearize(NOT_LINEAR[stage], count=3)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (optax.sgd(optax.linear_schedule(0.1, 0.0, 100)), "scale_by_schedule varies"),
        (optax.sgd(lambda t: jnp.where(t < 10**6, 0.1, 0.01)), "scale_by_schedule varies"),
        (jm.heavy_ball(0.1, beta=jm.schedules.linear(0.9, 0.5, 10)), "'schedule_count'.*0.04 from"),
        (jm.nesterov_convex(0.1), "'carry'"),
        (jm.chebyshev(1.0, 10.0), "'carry'"),
        (jm.ema_momentum(0.1, debias=True), "'carry'"),
        (optax.chain(optax.ema(0.9), optax.scale(-0.1)), "^ema varies.*count"),
        (optax.contrib.schedule_free_sgd(0.1), "^schedule_free varies.*weight_sum"),
        (optax.MultiSteps(optax.sgd(0.1), 4).gradient_transformation(), "^MultiSteps varies"),
    ],
)
def test_what_varies_with_time_is_refused_by_name(optimizer, words):
    with pytest.raises(theory.NotLinearError, match=words):
        theory.linearize(optimizer)


def test_it_is_refused_while_compiling_too():
    with pytest.raises(theory.NotLinearError, match="scale_by_sign is not linear"):
        jax.jit(theory.linearize)(jm.signum(0.1))
    with pytest.raises(theory.NotLinearError, match="varies with time"):
        jax.jit(theory.linearize)(jm.nesterov_convex(0.1))


def test_what_only_watches_is_let_through():
    """A norm that is kept and never used, and a guard against what is not finite."""

    def update(updates, state, params=None):
        del params
        return updates, {"norm": optax.tree.norm(updates), "steps": state["steps"] + 1}

    start = {"norm": jnp.zeros([]), "steps": jnp.zeros([], jnp.int32)}
    watch = optax.GradientTransformation(lambda params: start, update)
    guarded = optax.apply_if_finite(optax.chain(watch, optax.sgd(0.3)), 5)
    system = theory.linearize(guarded)
    assert system.names == ("params",)
    np.testing.assert_allclose([system.A[0, 0], system.B[0]], [1.0, -0.3], atol=1e-15)


def test_what_the_proof_cannot_see_through_is_refused_as_that():
    """A loop of multiplications is linear, and not said to be otherwise."""

    def update(updates, state, params=None):
        del params
        rounds = jnp.asarray(3)  # an array: a loop whose length is not in the program
        return jax.lax.fori_loop(0, rounds, lambda i, g: -0.1 * g, updates), state

    looped = optax.GradientTransformation(lambda params: (), update)
    with pytest.raises(theory.NotLinearError, match="not known to be linear, though samples add"):
        theory.linearize(looped)


@jax.custom_jvp
def with_double_slope(x):
    return 1.0 * x


with_double_slope.defjvp(
    lambda primals, tangents: (with_double_slope(primals[0]), 2.0 * tangents[0])
)


@jax.custom_vjp
def with_reversed_slope(x):
    return 1.0 * x


with_reversed_slope.defvjp(lambda x: (x, None), lambda _, g: (-g,))

# Their derivatives are not those of their values, which are x, or half of it.
SLOPES = {
    "custom_jvp": (with_double_slope, 1.0),
    "custom_vjp": (with_reversed_slope, 1.0),
    "in jit": (jax.jit(with_double_slope), 1.0),
    "in checkpoint": (jax.checkpoint(with_reversed_slope), 1.0),
    "in a branch": (
        lambda x: jax.lax.cond(jnp.array(True), with_double_slope, with_reversed_slope, x),
        1.0,
    ),
    "stop_gradient": (lambda x: x - 0.5 * jax.lax.stop_gradient(x), 0.5),
    "straight through": (lambda x: 0.5 * x + jax.lax.stop_gradient(x - x), 0.5),
}


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("momentum", [None, 0.5])
def test_the_matrices_are_those_of_the_values_not_of_derivatives(name, momentum):
    function, scale = SLOPES[name]

    def update(updates, state, params=None):
        return jax.tree.map(function, updates), state

    bent = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    for stages in ([bent, optax.sgd(0.1, momentum)], [optax.sgd(0.1, momentum), bent]):
        system = theory.linearize(optax.chain(*stages))
        plain = theory.linearize(optax.sgd(0.1 * scale, momentum))
        z = jnp.asarray(np.exp(1j * np.linspace(0.1, 3.1, 5)))
        response = jax.vmap(theory.transfer_function, (None, 0))
        np.testing.assert_allclose(response(system, z), response(plain, z), rtol=1e-13)


@pytest.mark.parametrize("k", [1, 2])
def test_a_clock_that_rests_in_a_branch_is_at_rest(k):
    """Every single step is the last of its kind: the counter of small steps stays at zero."""
    optimizer = optax.MultiSteps(optax.sgd(0.1, 0.5), k).gradient_transformation()
    if k > 1:
        with pytest.raises(theory.NotLinearError, match=r"^MultiSteps varies.*'mini_step'"):
            theory.linearize(optimizer)
        return
    system = theory.minimal(theory.linearize(optimizer))
    plain = theory.linearize(optax.sgd(0.1, 0.5))
    for curvature in (0.5, 3.0):
        np.testing.assert_allclose(
            theory.spectral_radius(system, curvature),
            theory.spectral_radius(plain, curvature),
            rtol=1e-12,
        )


@jax.custom_batching.custom_vmap
def batched_otherwise(x):
    return 1.0 * x


@batched_otherwise.def_vmap
def _(size, is_batched, x):
    return 2.0 * x, True


NOT_SEEN_THROUGH = {
    "a batching rule of its own": batched_otherwise,
    "a coarse number": lambda x: x.astype(jnp.bfloat16).astype(x.dtype),
    "a whole number": lambda x: jnp.round(x),
    "a rounded mantissa": lambda x: jax.lax.reduce_precision(x, 8, 7),
    "a product into integers": lambda x: jax.lax.dot_general(
        x.reshape(1), jnp.ones(1), (((0,), (0,)), ((), ())), preferred_element_type=jnp.int32
    ).astype(x.dtype),
    "bits": lambda x: jax.lax.bitcast_convert_type(
        jax.lax.bitcast_convert_type(x, jnp.int64), x.dtype
    ),
    "a filled gather": lambda x: x.reshape(1).at[jnp.array(3)].get(mode="fill", fill_value=1.0),
}


@pytest.mark.parametrize("name", NOT_SEEN_THROUGH)
def test_operations_of_no_known_linearity_are_refused(name):
    bent = optax.stateless(lambda updates, params: -0.1 * NOT_SEEN_THROUGH[name](updates))
    with pytest.raises(theory.NotLinearError, match="linear"):
        theory.linearize(bent)


def pair(x):
    return jnp.stack([x, 2.0 * x])


# Linear operations, and what they make of 1.
SEEN_THROUGH = {
    "stack": (lambda x: jnp.stack([x, 2.0 * x], axis=-1)[1], 2.0),
    "at set": (lambda x: jnp.zeros(3).at[1].set(x)[1], 1.0),
    "at set of a part": (lambda x: pair(x).at[0].set(0.0).sum(), 2.0),
    "at add": (lambda x: pair(x).at[1].add(x).sum(), 4.0),
    "at multiply": (lambda x: pair(x).at[1].multiply(3.0).sum(), 7.0),
    "dynamic slices": (lambda x: jax.lax.dynamic_update_slice(pair(x), x[None], (1,)).sum(), 2.0),
    "take": (lambda x: jnp.take(pair(x), 1), 2.0),
    "a filled gather": (lambda x: pair(x).at[jnp.array(5)].get(mode="fill", fill_value=0) + x, 1.0),
    "scan": (lambda x: jax.lax.scan(lambda c, _: (0.5 * c + x, c), x, length=3)[0], 1.875),
    "scan from zero": (lambda x: jax.lax.scan(lambda c, r: (c + r, r), 0.0, pair(x))[0], 3.0),
    "rows of a scan": (lambda x: jax.lax.scan(lambda c, r: (c, c * r), 3.0, pair(x))[1][1], 6.0),
    "a chain of sums": (
        lambda x: jax.lax.fori_loop(0, 4, lambda _, c: (x, c[0], c[1]), (0.0, 0.0, 0.0))[2],
        1.0,
    ),
    "map": (lambda x: jax.lax.map(lambda row: 0.5 * row, pair(x)).sum(), 1.5),
    "cumsum": (lambda x: jnp.cumsum(pair(x))[1], 3.0),
    "convolve": (lambda x: jnp.convolve(pair(x), jnp.array([1.0, 10.0]))[1], 12.0),
    "fft": (lambda x: jnp.fft.rfft(pair(x)).real[1], -1.0),
    "complex numbers": (lambda x: ((1 + 2j) * jnp.conj(jax.lax.complex(x, 2.0 * x))).real, 5.0),
    "a triangular solve": (
        lambda x: jax.scipy.linalg.solve_triangular(2.0 * jnp.eye(2), pair(x))[0],
        0.5,
    ),
    "zero for NaN": (lambda x: jnp.where(jnp.isnan(x), 0.0, x), 1.0),
    "nan_to_num": (jnp.nan_to_num, 1.0),
    "a known branch": (lambda x: jax.lax.cond(jnp.array(True), lambda: x, lambda: x + 1.0), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN_THROUGH)
def test_linear_operations_are_seen_through(name):
    """By the proof alone, which compiles nothing; then all of them at once as an update."""
    function, _ = SEEN_THROUGH[name]
    (mark,) = linearity_of(jax.make_jaxpr(function)(1.0), [Linearity(LINEAR_KIND)])
    assert (mark.kind, mark.reason) == (LINEAR_KIND, None)


def test_the_values_of_linear_operations_are_those_of_the_code():
    def update(updates, params):
        del params
        return jnp.stack([function(-updates) for function, _ in SEEN_THROUGH.values()]) @ weights

    weights = np.random.default_rng(0).standard_normal(len(SEEN_THROUGH))
    system = theory.linearize(optax.stateless(update))
    expected = [value for _, value in SEEN_THROUGH.values()]
    np.testing.assert_allclose(system.B, [-np.dot(expected, weights)], rtol=1e-12)


def test_optax_guards_against_nan_are_linear():
    guarded = optax.chain(optax.zero_nans(), optax.sgd(0.2, 0.7))
    np.testing.assert_allclose(
        theory.linearize(guarded).A, theory.linearize(optax.sgd(0.2, 0.7)).A, atol=1e-15
    )


def clipped(x):
    return jnp.clip(x, -1.0, 1.0)


STILL_REFUSED = {
    "a loop of clips": (
        lambda x: jax.lax.fori_loop(0, 3, lambda _, c: clipped(c) + x, x),
        "max",
    ),
    "a loop with an offset": (lambda x: jax.lax.fori_loop(0, 3, lambda _, c: c + x, 1.0), "add"),
    "a loop that counts": (
        lambda x: jax.lax.fori_loop(0, 3, lambda _, c: (c[0] + 1.0, c[1] + c[0]), (0.0, x))[1],
        "add",
    ),
    "a product in a loop": (lambda x: jax.lax.fori_loop(0, 2, lambda _, c: c * x, x), "mul"),
    "a set constant": (lambda x: pair(x).at[0].set(1.0).sum(), "scatter"),
    "an index that is data": (
        lambda x: jnp.zeros(3).at[x.astype(int)].set(x).sum(),
        "convert_element_type",
    ),
    "a fill": (lambda x: pair(x).at[jnp.array(5)].get(mode="fill", fill_value=1.0), "gather"),
    "a fill of NaN": (lambda x: jnp.take(pair(x), 5), "gather"),
    "a test of what is not linear": (
        lambda x: jnp.where(jnp.isnan(jnp.sqrt(x)), 2.0 * x, x),
        "sqrt",
    ),
    "a finite test of what is not linear": (
        lambda x: jnp.where(jnp.isfinite(jnp.log(x)), 2.0 * x, x),
        "log",
    ),
    "a test for a number": (lambda x: jnp.where(x == 1.0, 2.0 * x, x), "eq"),
}  # fmt: skip


@pytest.mark.parametrize("name", STILL_REFUSED)
def test_what_is_not_linear_within_them_is_refused_by_its_operation(name):
    function, operation = STILL_REFUSED[name]
    (mark,) = linearity_of(jax.make_jaxpr(function)(1.0), [Linearity(LINEAR_KIND)])
    assert mark.reason is not None
    assert mark.reason.operation == operation


def test_a_loop_names_the_stage_that_is_not_linear_in_it():
    clip = optax.clip(1.0)

    def update(updates, state, params=None):
        body = lambda _, c: clip.update(c, state)[0]  # noqa: E731
        return jax.lax.fori_loop(0, 3, body, updates), state

    with pytest.raises(theory.NotLinearError, match=r"^clip is not linear"):
        theory.linearize(optax.GradientTransformation(clip.init, update))


def test_what_is_evaluated_is_what_was_proved():
    """Code that does another thing each time it is traced: the system is that of one trace."""
    traces = []

    def update(updates, state, params=None):
        del params
        traces.append(None)
        return -0.1 * len(traces) * updates, state

    system = theory.linearize(optax.GradientTransformation(lambda params: (), update))
    assert len(traces) == 1
    np.testing.assert_allclose(system.B, [-0.1], rtol=1e-12)


def test_complex_buffers_are_two_real_entries():
    system = theory.linearize(jm.complex_momentum(0.1, beta=0.8, phi=0.4))
    assert system.names == ("params", "buffers[0].real", "buffers[0].imag")
    c, s = 0.8 * np.cos(0.4), 0.8 * np.sin(0.4)
    np.testing.assert_allclose(system.A[1:, 1:], [[c, -s], [s, c]], rtol=1e-12)
    np.testing.assert_allclose(system.B[2], 0.0, atol=1e-15)


def test_the_number_of_a_step_is_one_number():
    for count in (jnp.arange(3), -1):
        with pytest.raises(ValueError, match="count is the number of"):
            theory.linearize(jm.nesterov_convex(0.1), count=count)
        with pytest.raises(ValueError, match="count is the number of"):
            theory.kernel(jm.nesterov_convex(0.1), 3, count=count)


def test_an_offset_that_begins_later_is_found():
    """Zero at the first step, one from the second on: no line through the origin."""

    def update(updates, state, params=None):
        del params
        return updates + jnp.where(state, 0.0, 1.0), jnp.array(False)

    late = optax.GradientTransformation(lambda params: jnp.array(True), update)
    for count in (None, 0, 1):
        with pytest.raises(theory.NotLinearError, match=r"is not.*'add'"):
            theory.linearize(late, count=count)


def test_stages_are_named_through_jit_and_conditions():
    clipped = optax.chain(optax.clip(1.0), optax.sgd(0.1))
    jitted = optax.GradientTransformation(clipped.init, jax.jit(clipped.update))
    with pytest.raises(theory.NotLinearError, match=r"^clip is not linear"):
        theory.linearize(jitted)
    late = optax.conditionally_mask(optax.sgd(0.1), lambda step, **extra: step < 100)
    with pytest.raises(theory.NotLinearError, match=r"^conditionally_mask varies.*'step'"):
        theory.linearize(late)
    wrapped = optax.partition({"all": optax.flatten(optax.sgd(0.2, 0.7))}, "all")
    np.testing.assert_allclose(
        theory.linearize(wrapped).A, theory.linearize(optax.sgd(0.2, 0.7)).A, atol=1e-15
    )


def test_constants_in_the_state_are_no_state_of_the_system():
    injected = optax.inject_hyperparams(optax.sgd)(learning_rate=0.2, momentum=0.7)
    system = theory.linearize(injected)
    np.testing.assert_allclose(system.A, theory.linearize(optax.sgd(0.2, 0.7)).A, atol=1e-15)
