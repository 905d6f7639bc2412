"""Heads: any filter before them, what other implementations make of them, and what they refuse."""

import pickle
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom.methods._heads import as_filter
from jaxmom.methods._polar import newton_schulz

STEPS, SHAPE = 40, (4, 3)
RNG = np.random.default_rng(3)
START, NOISE = RNG.normal(size=SHAPE), RNG.normal(size=(STEPS, *SHAPE))
CURVATURE = np.linspace(0.5, 4.0, 12).reshape(SHAPE)
TABLE = ((3.0, -3.0, 1.0), (2.0, -1.5, 0.5))
CONVERGENT = (15 / 8, -10 / 8, 3 / 8)  # whose polynomial has the fixed point 1, of order 3


def gradient_at(x, t):
    return CURVATURE * x + NOISE[t]


@jax.jit
def path(optimizer):
    """The params [STEPS, *SHAPE] of a run; one program for all optimizers of one structure."""

    def step(carry, noise):
        x, state = carry
        updates, state = optimizer.update(CURVATURE * x + noise, state, x)
        return (x + updates, state), x + updates

    start = jnp.asarray(START)
    return jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(NOISE))[1]


def assert_same_path(optimizer, expected, atol=1e-12):
    np.testing.assert_allclose(path(optimizer), expected, rtol=0, atol=atol)


# Other implementations.


def torch_path(make):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install torch")
    x, points, dtype = torch.nn.Parameter(torch.tensor(START)), [], torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # in which PyTorch keeps products of its own
    try:
        optimizer = make(torch, [x])
        for t in range(STEPS):
            x.grad = torch.tensor(gradient_at(x.detach().numpy(), t))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old overloads of PyTorch's
                optimizer.step()
            points.append(x.detach().numpy().copy())
    finally:
        torch.set_default_dtype(dtype)
    return np.array(points)


def of_pytorch_optimizer(name, **options):
    def make(torch, params):
        reason = "compares with pytorch_optimizer: pip install pytorch_optimizer"
        module = pytest.importorskip("pytorch_optimizer", reason=reason)
        defaults = {"lr": 0.01, "weight_decay": 0.02, "weight_decouple": True}
        return getattr(module, name)(params, **{**defaults, **options})

    return make


def of_torch(name, **options):
    return lambda torch, params: getattr(torch.optim, name)(params, lr=0.01, **options)


def of_qhoptim(torch, params):
    reason = "compares with the authors' code: pip install qhoptim"
    module = pytest.importorskip("qhoptim.pyt", reason=reason)
    return module.QHAdam(
        params,
        lr=0.01,
        betas=(0.9, 0.98),
        nus=(0.7, 0.8),
        weight_decay=0.02,
        decouple_weight_decay=True,
    )


DECAY = {"weight_decay": 0.02}
OF_TORCH = {
    "nadam": (
        jm.nadam(0.01, 0.9, 0.98, momentum_decay=0.01, **DECAY),
        of_torch(
            "NAdam", betas=(0.9, 0.98), momentum_decay=0.01, decoupled_weight_decay=True, **DECAY
        ),
    ),
    "adamw": (
        jm.chain(
            jm.scale_by_second_moment(0.9, b2=0.98),
            optax.add_decayed_weights(0.02),
            optax.scale(-0.01),
        ),
        of_torch("AdamW", betas=(0.9, 0.98), **DECAY),
    ),
    "qhadam": (jm.qhadam(0.01, 0.9, 0.98, 0.7, 0.8, **DECAY), of_qhoptim),
    "adan": (jm.adan(0.01, **DECAY), of_pytorch_optimizer("Adan", weight_decouple=False)),
    "ademamix": (
        jm.ademamix(0.01, b3=0.999, alpha=2.0, **DECAY),
        of_pytorch_optimizer("AdEMAMix", betas=(0.9, 0.999, 0.999), alpha=2.0),
    ),
    # It adds eps before it debiases.
    "mars": (jm.mars(0.01, eps=0.0, **DECAY), of_pytorch_optimizer("MARS", eps=0.0)),
    # It counts the step that makes no update, and the authors do not.
    "adopt": (
        jm.adopt(0.01, b2=0.99, **DECAY),
        of_pytorch_optimizer("ADOPT", betas=(0.9, 0.99), clip_lambda=lambda t: (t - 1) ** 0.25),
    ),
}


@pytest.mark.parametrize(("optimizer", "make"), OF_TORCH.values(), ids=OF_TORCH)
def test_equals_implementations_in_torch(optimizer, make):
    assert_same_path(optimizer, torch_path(make), atol=1e-10)


OF_OPTAX = {
    "adam": (
        jm.chain(jm.scale_by_second_moment(0.9), jm.lift(optax.scale_by_learning_rate)(0.01)),
        optax.adam(0.01),
    ),
    "ademamix": (jm.ademamix(0.01, alpha=2.0), optax.contrib.ademamix(0.01, alpha=2.0)),
    "simplified_ademamix": (
        jm.simplified_ademamix(0.01, alpha=2.0),
        optax.contrib.simplified_ademamix(0.01, alpha=2.0),
    ),
    "adopt": (jm.adopt(0.01), optax.contrib.adopt(0.01)),
    "keller": (jm.muon(0.01, momentum=0.0), optax.contrib.muon(0.01, beta=0.0, eps=1e-7)),
    "moonlight": (
        jm.muon(0.01, momentum=0.0, scaling="moonlight"),
        optax.contrib.muon(0.01, beta=0.0, eps=1e-7, consistent_rms=0.2),
    ),
    "table of coefficients": (
        jm.muon(
            0.01, momentum=0.0, ns_coefficients=[[3.0, -3.0, 1.0], [2.0, -1.5, 0.5]], ns_steps=2
        ),
        optax.contrib.muon(
            0.01, ns_coeffs=((3.0, -3.0, 1.0), (2.0, -1.5, 0.5)), ns_steps=2, beta=0.0, eps=1e-7
        ),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), OF_OPTAX.values(), ids=OF_OPTAX)
def test_equals_optax_where_it_is_right(ours, theirs):
    with jax.numpy_dtype_promotion("standard"):
        assert_same_path(ours, path(jm.chain(theirs)), atol=1e-11)


def test_muon_differs_from_optax_in_its_first_steps_alone():
    ours, theirs = jm.muon(0.01), jm.chain(optax.contrib.muon(0.01))
    with jax.numpy_dtype_promotion("standard"):
        steps = [np.diff(path(o), axis=0, prepend=START[None]) for o in (ours, theirs)]
    units = [step / np.linalg.norm(step, axis=(1, 2), keepdims=True) for step in steps]
    cosines = np.sum(units[0] * units[1], axis=(1, 2))
    np.testing.assert_allclose(cosines[0], 1.0, atol=1e-6)
    assert 0.9 < cosines[1] < 0.9999


# Identities.


def adam(b1=0.9, b2=0.98, eps=1e-8, learning_rate=0.01):
    head = jm.scale_by_second_moment(b1, b2=b2, eps=eps)
    return jm.chain(head, optax.scale(-learning_rate))


IDENTITIES = {
    "qhadam without mixing": (jm.qhadam(0.01, 0.9, 0.98, nu1=1.0, nu2=1.0), adam()),
    "adan without differences": (jm.adan(0.01, b1=0.9, b2=0.0, b3=0.98), adam()),
    "ademamix without slow average": (jm.ademamix(0.01, 0.9, 0.98, alpha=0.0), adam()),
    "ademamix after its warm-up": (
        jm.ademamix(0.01, 0.9, 0.98, 0.99, 2.0, steps=1.0),
        jm.ademamix(0.01, 0.9, 0.98, 0.99, 2.0),
    ),
    "signum is lion with one decay": (jm.signum(0.01, 0.9), jm.lion(0.01, 0.9, 0.9)),
    "muon of a sum": (
        jm.muon(0.01, momentum=0.9, ns_eps=0.0),
        jm.muon(0.01, momentum=jm.coefficients.nesterov(0.9), ns_eps=0.0),
    ),
}


@pytest.mark.parametrize(("one", "other"), IDENTITIES.values(), ids=IDENTITIES)
def test_identities(one, other):
    assert_same_path(one, path(other))


def test_the_unclipped_average_of_mars_is_quasi_hyperbolic():
    b1, gamma = 0.9, 0.05
    average = jm.scale_by_momentum(jm.coefficients.ema_momentum(b1))
    mars = jm.chain(jm.scale_by_momentum(jm.coefficients.mars(b1, gamma)), average)
    qhm = jm.scale_by_momentum(jm.coefficients.qhm(b1, nu=1 - gamma))
    np.testing.assert_allclose(updates_of(mars, GRADIENTS), updates_of(qhm, GRADIENTS), rtol=1e-12)


def test_exact_mars_equals_its_loop():
    b1, b2, gamma, eps, rate = 0.9, 0.98, 0.05, 1e-3, 0.03
    optimizer = jm.mars(rate, b1, b2, gamma, eps, exact=True)

    @jax.jit
    def run(optimizer):
        def step(carry, noise):
            x, previous, state = carry
            g, before = CURVATURE * x + noise, CURVATURE * previous + noise
            updates, state = optimizer.update(g, state, x, previous_grad=before)
            return (x + updates, x, state), x + updates

        start = jnp.asarray(START)
        return jax.lax.scan(step, (start, start, optimizer.init(start)), jnp.asarray(NOISE))[1]

    x = previous = START
    m, v, points = np.zeros(SHAPE), np.zeros(SHAPE), []
    for t in range(1, STEPS + 1):
        g, before = (gradient_at(point, t - 1) for point in (x, previous))
        c = g + gamma * b1 / (1 - b1) * (g - before)
        c = c / max(1, np.linalg.norm(c))
        m, v = b1 * m + (1 - b1) * c, b2 * v + (1 - b2) * c**2
        step = rate * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        x, previous = x - step, x
        points.append(x)
    np.testing.assert_allclose(run(optimizer), points, rtol=0, atol=1e-12)


# Any filter before any head.


def polar_factor(x):
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


EXACT = {"ns_coefficients": CONVERGENT, "ns_steps": 25}

FILTERS = {
    "coefficients": jm.coefficients.aggmo(betas=(0.0, 0.9)),
    "recurrence": jm.coefficients.ema_momentum(0.9, debias=True),
    "optimizer": jm.scale_by_momentum(jm.coefficients.nesterov(0.8)),
    "optax": optax.trace(0.9, nesterov=True),
    "chain": jm.chain(optax.clip(1.0), jm.lift(optax.ema)(0.9)),
}
HEADS = {
    "sign": (lambda m: jm.chain(m, optax.scale_by_sign()), np.sign),
    "norm": (lambda m: jm.chain(m, jm.scale_by_norm()), lambda u: u / np.linalg.norm(u)),
    "polar factor": (
        lambda m: jm.chain(
            m, jm.scale_by_polar_factor(None, ns_coefficients=CONVERGENT, ns_steps=25)
        ),
        lambda u: polar_factor(u),
    ),
}


def updates_of(optimizer, gradients):
    state, updates = optimizer.init(gradients[0]), []
    for g in gradients:
        with jax.numpy_dtype_promotion("standard"):
            update, state = optimizer.update(g, state, g)
        updates.append(np.asarray(update))
    return np.array(updates)


GRADIENTS = [jnp.asarray(g) for g in RNG.normal(size=(4, *SHAPE))]
every_filter = pytest.mark.parametrize("momentum", FILTERS.values(), ids=FILTERS)


@every_filter
@pytest.mark.parametrize(("chain", "head"), HEADS.values(), ids=HEADS)
def test_a_head_after_a_filter(momentum, chain, head):
    alone = as_filter(momentum, jm.coefficients.ema_momentum)
    expected = [head(u) for u in updates_of(alone, GRADIENTS)]
    np.testing.assert_allclose(updates_of(chain(alone), GRADIENTS), expected, atol=1e-6)


@every_filter
def test_methods_take_any_filter(momentum):
    """A second moment above which it stands, and the two methods with a polar factor."""
    alone = updates_of(as_filter(momentum, jm.coefficients.ema_momentum), GRADIENTS)
    v, squares = np.zeros(SHAPE), [np.asarray(g) ** 2 for g in GRADIENTS]
    for t, (u, update) in enumerate(
        zip(
            alone,
            updates_of(jm.scale_by_second_moment(momentum, 0.9, 1e-3), GRADIENTS),
            strict=True,
        )
    ):
        v = 0.9 * v + 0.1 * squares[t]
        expected = u / (np.sqrt(v / (1 - 0.9 ** (t + 1))) + 1e-3)
        np.testing.assert_allclose(update, expected, rtol=1e-12)
    options = {"scaling": None, "ns_coefficients": CONVERGENT, "ns_steps": 25}
    muon = updates_of(jm.muon(0.1, momentum, **options), GRADIENTS)
    np.testing.assert_allclose(muon, [-0.1 * polar_factor(u) for u in alone], atol=1e-6)
    normuon = updates_of(jm.normuon(0.1, momentum, **options), GRADIENTS)
    np.testing.assert_allclose(
        np.linalg.norm(normuon, axis=(1, 2)), 0.1 * np.sqrt(3), rtol=1e-6, err_msg="keeps its norm"
    )


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 3)])
@pytest.mark.parametrize("dtype", [float, complex])
def test_the_polar_factor_is_that_of_the_singular_values(shape, dtype):
    x = RNG.normal(size=shape) + (1j * RNG.normal(size=shape) if dtype is complex else 0)
    table = jnp.tile(jnp.array(CONVERGENT), (30, 1))
    np.testing.assert_allclose(
        newton_schulz(jnp.asarray(x), table, 0.0), polar_factor(x), atol=1e-10
    )


@pytest.mark.parametrize("output_axis", [-1, -2])
def test_scaling_goes_by_inputs_and_outputs(output_axis):
    tall = jnp.asarray(RNG.normal(size=(8, 2)))
    plain, keller, moonlight = (
        updates_of(jm.scale_by_polar_factor(s, output_axis=output_axis), [tall])[0]
        for s in (None, "keller", "moonlight")
    )
    np.testing.assert_allclose(keller, plain * (2.0 if output_axis == -2 else 1.0))
    np.testing.assert_allclose(moonlight, plain * 0.2 * np.sqrt(8))


def test_muon_in_the_layout_of_the_authors_is_the_transpose():
    transposed = [g.T for g in GRADIENTS]
    for method in (jm.muon, jm.normuon):
        ours = updates_of(method(0.1), GRADIENTS)
        theirs = updates_of(method(0.1, output_axis=-2), transposed)
        np.testing.assert_allclose(ours, np.swapaxes(theirs, 1, 2), rtol=1e-12)


def test_vectors_go_to_another_optimizer():
    params = {"w": jnp.asarray(START), "b": jnp.ones(3)}
    gradients = [{"w": g, "b": jnp.arange(1.0, 4.0)} for g in GRADIENTS]
    optimizer = jm.muon(0.1, rest=jm.heavy_ball(0.5, beta=0.8))
    state, alone, matrices = optimizer.init(params), jm.heavy_ball(0.5, 0.8), jm.muon(0.1)
    b, w = alone.init(params["b"]), matrices.init(params["w"])
    for g in gradients:
        updates, state = optimizer.update(g, state, params)
        expected_b, b = alone.update(g["b"], b)
        expected_w, w = matrices.update(g["w"], w)
        np.testing.assert_array_equal(updates["b"], expected_b)
        np.testing.assert_array_equal(updates["w"], expected_w)
    assert jm.hyperparameters(jm.replace(optimizer, **{"rest.beta": 0.5}))["rest.beta"] == 0.5
    labels = {"w": "rest", "b": "rest"}
    only = jm.muon(0.1, rest=jm.heavy_ball(0.5), labels={"w": "matrices", "b": "rest"})
    assert only.init(params)
    with pytest.raises(ValueError, match="no label"):
        jm.muon(0.1, rest=jm.heavy_ball(0.5), labels=labels)


def test_two_makers_of_muon_share_a_compilation():
    """Also after one of them was pickled: the labels are a function of the package."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def first_update(optimizer, params):
        return optimizer.update(params, optimizer.init(params), params)[0]

    params = {"w": jnp.asarray(START), "b": jnp.ones(3)}
    make = lambda rate: jm.muon(rate, rest=jm.heavy_ball(0.5), weight_decay=0.1)  # noqa: E731
    for optimizer in (make(0.1), make(0.2), pickle.loads(pickle.dumps(make(0.3)))):
        assert np.isfinite(first_update(optimizer, params)["w"]).all()


def test_norms_are_of_each_array_or_of_all():
    updates = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0), "c": jnp.zeros(2)}
    for per_array, expected in [(False, (0.6, 0.8)), (True, (1.0, 1.0))]:
        head = jm.scale_by_norm(per_array)
        new, _ = head.update(updates, head.init(updates))
        np.testing.assert_allclose([new["a"][0], new["b"]], expected, rtol=1e-15)
        np.testing.assert_array_equal(new["c"], 0.0)


# Complex parameters, zero gradients, schedules.


def test_second_moments_of_complex_gradients_are_of_their_modulus():
    gradients = [jnp.asarray(np.asarray(g) * np.exp(1j * k)) for k, g in enumerate(GRADIENTS)]
    with jax.numpy_dtype_promotion("standard"):
        expected = updates_of(jm.lift(optax.adam)(0.1), gradients)
    ours = updates_of(jm.chain(jm.scale_by_second_moment(0.9), optax.scale(-0.1)), gradients)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


ZERO = {
    "qhadam": lambda b: jm.qhadam(0.1, b, 0.9),
    "adan": lambda b: jm.adan(0.1, b3=b),
    "mars": lambda b: jm.mars(0.1, b2=b),
    "adopt": lambda b: jm.adopt(0.1, b2=b),
    "normalized_momentum": lambda b: jm.normalized_momentum(0.1, b),
    "normuon": lambda b: jm.normuon(0.1, b2=b),
}


@pytest.mark.parametrize("make", ZERO.values(), ids=ZERO)
def test_hypergradients_are_finite_where_gradients_are_zero(make):
    def moved(b):
        optimizer, x = make(b), jnp.zeros((2, 2))
        state = optimizer.init(x)
        for g in (jnp.zeros((2, 2)), jnp.array([[0.0, 0.0], [0.0, 1.0]])):
            updates, state = optimizer.update(g, state, x)
            x = x + updates
        return x.sum()

    value, slope = jax.jit(jax.value_and_grad(moved))(jnp.array(0.9))
    assert np.isfinite(value)
    assert np.isfinite(slope)


SCHEDULED = {
    "nadam": (jm.nadam, {"b1": 0.9, "b2": 0.98, "eps": 1e-3, "momentum_decay": 0.01}),
    "adan": (jm.adan, {"b1": 0.9, "b2": 0.8, "b3": 0.98, "weight_decay": 0.1}),
    "ademamix": (jm.ademamix, {"b1": 0.9, "b3": 0.99, "alpha": 2.0, "steps": 5.0}),
    "mars": (jm.mars, {"b1": 0.9, "gamma": 0.05}),
    "adopt": (jm.adopt, {"b1": 0.9, "b2": 0.98}),
    "nigt": (jm.nigt, {"beta": 0.9}),
    "muon": (jm.muon, {"momentum": 0.9, "ns_eps": 1e-3}),
    "normuon": (jm.normuon, {"momentum": 0.9, "b2": 0.9}),
}


@pytest.mark.parametrize(("method", "values"), SCHEDULED.values(), ids=SCHEDULED)
def test_schedules_stand_wherever_a_number_does(method, values):
    plain = updates_of(method(0.1, **values), GRADIENTS)
    schedules = {name: jm.schedules.constant(value) for name, value in values.items()}
    scheduled = updates_of(method(jm.schedules.constant(0.1), **schedules), GRADIENTS)
    np.testing.assert_allclose(scheduled, plain, rtol=1e-12)


# What is refused.

LABELS = {"w": "matrices", "b": "rest"}
LR_TWICE = r"momentum ends with a learning rate.*the method has its own; give the filter alone"
REFUSED = {
    "a learning rate by name": (lambda: jm.muon(0.1, jm.heavy_ball(0.1)), LR_TWICE),
    "a learning rate of optax": (lambda: jm.muon(0.1, optax.sgd(0.1, 0.9)), LR_TWICE),
    "a warm-up of optax": (
        lambda: jm.muon(0.1, optax.sgd(optax.linear_schedule(0.0, 0.1, 5), 0.9)),
        LR_TWICE,
    ),
    "a learning rate at the end": (
        lambda: jm.scale_by_second_moment(jm.chain(optax.trace(0.9), optax.scale(-0.1))),
        LR_TWICE,
    ),
    "scaling": (lambda: jm.muon(0.1, scaling="jordan"), 'scaling is "keller", "moonlight" or None'),
    "layout": (lambda: jm.normuon(0.1, output_axis=0), "output_axis is -1"),
    "steps": (lambda: jm.muon(0.1, ns_steps=0), "ns_steps is .* at least 1, not 0"),
    "traced steps": (lambda: jm.muon(0.1, ns_steps=jnp.array(5)), "ns_steps is .* an int"),
    "two coefficients": (lambda: jm.muon(0.1, ns_coefficients=(1.0, 2.0)), r"shape \(2,\)"),
    "labels alone": (lambda: jm.muon(0.1, labels=LABELS), "labels say .* give it as rest"),
    "eps": (lambda: jm.adopt(0.1, eps=-1.0), r"eps = -1.0 is outside of \[0, inf\)"),
    "b2": (lambda: jm.scale_by_second_moment(0.9, b2=1.0), r"b2 = 1.0 is outside of \[0, 1\)"),
    "nu2": (lambda: jm.qhadam(0.1, nu2=1.5), r"nu2 = 1.5 is outside of \[0, 1\]"),
    "warm-up from no memory": (lambda: jm.ademamix(0.1, b1=0.0, steps=10), r"b1 = 0.0 is outside"),
    "no steps": (lambda: jm.ademamix(0.1, steps=0), r"steps = 0.* is outside of \(0, inf\]"),
}


@pytest.mark.parametrize(("attempt", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_use_is_refused_at_once(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.parametrize("method", [jm.muon, jm.normuon])
def test_a_polar_factor_of_a_vector_is_refused(method):
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"params\['b'\] has shape \(3,\).*rest="):
        method(0.1).init(params)
    with pytest.raises(ValueError, match=r"is that of a matrix.*shape \(\)"):
        method(
            0.1, rest=optax.sgd(0.1), labels={"w": "rest", "b": "matrices", "c": "matrices"}
        ).init({"w": jnp.ones((2, 2)), "b": jnp.ones((2, 2)), "c": jnp.ones(())})


def test_a_table_of_coefficients_has_a_row_for_each_step():
    optimizer = jm.muon(0.1, ns_coefficients=jnp.ones((4, 3)), ns_steps=5)
    with pytest.raises(ValueError, match=r"shape \(4, 3\).*each of ns_steps = 5"):
        updates_of(optimizer, GRADIENTS[:1])


def test_exact_mars_leaves_frozen_arrays_alone():
    """In bfloat16, whose previous gradients have it too."""
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    optimizer, gradient = jm.mars(0.1, exact=True), {"a": jnp.ones(2, jnp.bfloat16), "b": None}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params, previous_grad=params)
    assert updates["b"] is None
    np.testing.assert_allclose(updates["a"].astype(float), -0.1, rtol=1e-2)
    assert updates["a"].dtype == jnp.bfloat16


def test_exact_mars_needs_the_gradient_before():
    with pytest.raises(TypeError, match=r"previous_grad=\.\.\."):
        updates_of(jm.mars(0.1, exact=True), GRADIENTS[:1])


DECAYING = [jm.adan, jm.qhadam, jm.muon, jm.normalized_momentum]


@pytest.mark.parametrize("method", DECAYING, ids=lambda method: method.__name__)
def test_weight_decay_needs_params(method):
    optimizer = method(0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="weight decay needs params"):
        optimizer.update(GRADIENTS[0], optimizer.init(GRADIENTS[0]))
