"""Conversions between libraries, there and back, and by what the two optimizers do."""

import doctest
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmom as jm
from jaxmom import conversions, theory

GRADIENTS = np.random.default_rng(0).standard_normal((40, 3))
PAIRS = [(0.0, False), (0.5, False), (0.9, False), (0.9, True), (0.99, True)]
every_pair = pytest.mark.parametrize(("momentum", "nesterov"), PAIRS, ids=str)


@jax.jit
def qhm_points(keywords):
    """The points of jaxmom.qhm for the gradients: [steps, 3]."""
    optimizer = jm.qhm(**keywords)

    def step(carry, gradient):
        params, state = carry
        update, state = optimizer.update(gradient, state, params)
        return (params + update, state), params + update

    start = jnp.zeros(3)
    return jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(GRADIENTS))[1]


def points_of(keywords):
    return np.asarray(qhm_points({name: jnp.asarray(x, float) for name, x in keywords.items()}))


@every_pair
def test_pytorch_and_qhm_take_the_same_steps(momentum, nesterov):
    torch = pytest.importorskip("torch", reason="PyTorch is the source of this truth")
    nesterov = nesterov and momentum > 0
    keywords = conversions.from_pytorch(0.1, momentum=momentum, nesterov=nesterov)
    back = conversions.to_pytorch(**keywords)
    assert back["lr"] == pytest.approx(0.1, rel=1e-15)
    assert (back["momentum"], back["nesterov"]) == (momentum, nesterov)
    params = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer, points = torch.optim.SGD([params], **back), []
    for gradient in GRADIENTS:
        params.grad = torch.from_numpy(gradient)
        optimizer.step()
        points.append(params.detach().numpy().copy())
    np.testing.assert_allclose(points_of(keywords), points, rtol=1e-10, atol=1e-12)


@every_pair
def test_keras_and_qhm_take_the_same_steps(momentum, nesterov):
    """Its update as its documentation writes it, as a plain loop."""
    keywords = conversions.from_keras(0.1, momentum, nesterov)
    back = conversions.to_keras(**keywords)
    assert back["learning_rate"] == pytest.approx(0.1, rel=1e-15)
    w, v, points = np.zeros(3), np.zeros(3), []
    for g in GRADIENTS:
        v = back["momentum"] * v - back["learning_rate"] * g
        w = w + (back["momentum"] * v - back["learning_rate"] * g if back["nesterov"] else v)
        points.append(w)
    np.testing.assert_allclose(points_of(keywords), points, rtol=1e-10, atol=1e-12)


@every_pair
def test_optax_and_qhm_are_one_system(momentum, nesterov):
    keywords = conversions.from_optax(0.1, momentum or None, nesterov)
    same = theory.equivalent(optax.sgd(**conversions.to_optax(**keywords)), jm.qhm(**keywords))
    assert same, same.reason
    assert same.scale == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("method", ["heavy_ball", "nesterov"])
def test_the_best_numbers_for_curvatures_and_back(method):
    keywords = conversions.from_curvatures(0.04, 9.0, method)
    named = {
        "heavy_ball": jm.heavy_ball(4 / 3.2**2, beta=(2.8 / 3.2) ** 2),
        "nesterov": jm.nesterov_strongly_convex(mu=0.04, L=9.0),
    }[method]
    same = theory.equivalent(jm.qhm(**keywords), named)
    assert same, same.reason
    assert same.scale == pytest.approx(1.0, rel=1e-12)
    back = conversions.to_curvatures(**keywords)
    assert back == {"mu": pytest.approx(0.04), "L": pytest.approx(9.0)}
    optimum = theory.tune(method, mu=0.04, L=9.0) if method == "heavy_ball" else None
    if optimum is not None:
        assert optimum.hyperparameters["beta"] == pytest.approx(float(keywords["beta"]), rel=1e-6)


@pytest.mark.parametrize("nu", [0.3, 1.0])
def test_effective_learning_rate_and_memory_are_those_of_theory(nu):
    keywords = conversions.from_effective(0.3, memory=7.0, nu=nu)
    optimizer = jm.qhm(**keywords)
    assert theory.effective_learning_rate(optimizer) == pytest.approx(0.3, rel=1e-12)
    assert theory.memory(optimizer) == pytest.approx(7.0, rel=1e-12)
    back = conversions.to_effective(**keywords)
    assert back == {"effective_learning_rate": 0.3, "memory": pytest.approx(7.0, rel=1e-12)}
    assert np.sum(theory.kernel(optimizer, 1000)) == pytest.approx(0.3, rel=1e-10)


def test_conversions_may_be_traced():
    betas = jnp.array([0.5, 0.9])
    rates = jax.vmap(lambda beta: conversions.from_pytorch(0.1, beta)["learning_rate"])(betas)
    np.testing.assert_allclose(rates, [0.2, 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("first step undamped", lambda: conversions.from_pytorch(0.1, 0.9, dampening=0.5)),
        ("neither 1 nor beta", lambda: conversions.to_pytorch(0.1, 0.9, nu=0.7)),
        ("neither 1 nor beta", lambda: conversions.to_curvatures(0.1, 0.9, nu=0.7)),
        ("momentum = 1.0 is outside", lambda: conversions.from_keras(0.1, 1.0)),
        ("lr = -1 is outside", lambda: conversions.from_optax(-1)),
        ("mu = 2 is above L = 1", lambda: conversions.from_curvatures(2, 1)),
        ("method is", lambda: conversions.from_curvatures(1, 2, "adam")),
        ("memory = 0.5 is outside", lambda: conversions.from_effective(0.1, 0.5)),
        ("learning rate of 0", lambda: conversions.to_curvatures(0.0, 0.9)),
    ],
)
def test_wrong_use_gets_a_sentence(words, call):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_page_of_conversions_runs():
    page = pathlib.Path(__file__).parent.parent / "docs" / "conversions.md"
    flags = doctest.NORMALIZE_WHITESPACE
    done = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert done.attempted > 15
    assert done.failed == 0
