"""Equalities between methods, and with optax and PyTorch: one family seen from many sides."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import METHODS

import jaxmom as jm

RNG = np.random.default_rng(2)
HESSIAN = np.diag(np.linspace(1.0, 9.0, 5))
START, NOISE = RNG.normal(size=5), RNG.normal(size=(60, 5))
MU, L = 1.0, 9.0
RHO = 1 - np.sqrt(MU / L)


def path(optimizer, steps=60):
    """The points at which an optimizer asks for gradients on a noisy quadratic, [steps + 1, 5]."""
    loss = lambda x, noise: x @ jnp.asarray(HESSIAN) @ x / 2 + noise @ x  # noqa: E731
    batches = jnp.asarray(NOISE[:steps])
    run = jm.optimize(loss, jnp.asarray(START), optimizer, steps, batches=batches, record="params")
    return np.asarray(run.history["params"])


def descent(filtered, alpha):
    return jm.chain(filtered, optax.scale(-alpha))


ALPHA, BETA = 0.04, 0.8
HB = jm.heavy_ball(ALPHA, BETA)
NAG = jm.nesterov(ALPHA, BETA)
GD = jm.gradient_descent(ALPHA)
EMA = optax.ema(BETA, debias=False)

IDENTITIES = {
    "GD = HB(beta 0)": (GD, jm.heavy_ball(ALPHA, 0.0)),
    "GD = NAG(beta 0)": (GD, jm.nesterov(ALPHA, 0.0)),
    "GD = QHM(nu 0)": (GD, jm.qhm(ALPHA, BETA, 0.0)),
    "GD = optimistic(0)": (GD, jm.optimistic_gradient(ALPHA, 0.0)),
    "HB = EMA(alpha / (1 - beta))": (HB, jm.ema_momentum(ALPHA / (1 - BETA), BETA)),
    "HB = QHM(nu 1)": (HB, jm.qhm(ALPHA / (1 - BETA), BETA, 1.0)),
    "HB = AggMo(K = 1)": (HB, jm.aggmo(ALPHA, (BETA,))),
    "HB = sgd": (HB, jm.sgd(ALPHA, BETA)),
    "HB = demon(T = inf)": (HB, jm.demon(ALPHA, np.inf, BETA)),
    "HB = HB twice in AggMo": (HB, jm.aggmo(ALPHA, (BETA, BETA))),
    "NAG = QHM(nu = beta)": (NAG, jm.qhm(ALPHA / (1 - BETA), BETA, BETA)),
    "NAG = sgd(nesterov)": (NAG, jm.sgd(ALPHA, BETA, nesterov=True)),
    "NAG = AggMo of (0, beta), weighted": (
        NAG,
        descent(jm.mix([optax.identity(), optax.trace(BETA)], [1.0, BETA]), ALPHA),
    ),
    "AggMo = mix of K traces": (
        jm.aggmo(ALPHA, (0.0, 0.5, 0.9)),
        descent(jm.mix([optax.trace(b) for b in (0.0, 0.5, 0.9)], [1 / 3] * 3), ALPHA),
    ),
    "QHM = mix of identity and EMA": (
        jm.qhm(ALPHA, BETA, 0.7),
        descent(jm.mix([optax.identity(), EMA], [0.3, 0.7]), ALPHA),
    ),
    "Lion = sign of QHM(b2, b1 / b2)": (
        jm.lion(ALPHA, 0.9, 0.95),
        descent(
            jm.chain(
                jm.scale_by_momentum(jm.coefficients.qhm(0.95, 0.9 / 0.95)), optax.scale_by_sign()
            ),
            ALPHA,
        ),
    ),
    "Signum = Lion(b1 = b2)": (jm.signum(ALPHA, BETA), jm.lion(ALPHA, BETA, BETA)),
    "triple momentum = its coefficients": (
        jm.triple_momentum(MU, L),
        descent(
            jm.scale_by_momentum(
                jm.reading_new(RHO**2 / (2 - RHO), 1.0, 2 * RHO / (2 - RHO), direct=1.0)
            ),
            1 / L,
        ),
    ),
    "NAG strongly convex": (
        jm.nesterov_strongly_convex(MU, L),
        jm.nesterov(1 / L, (np.sqrt(L / MU) - 1) / (np.sqrt(L / MU) + 1)),
    ),
    "heavy ball = optax.sgd": (HB, optax.sgd(ALPHA, momentum=BETA)),
    "nesterov = optax.sgd(nesterov)": (NAG, optax.sgd(ALPHA, momentum=BETA, nesterov=True)),
    "ema = optax.ema": (jm.ema_momentum(ALPHA, BETA), descent(EMA, ALPHA)),
    "debiased ema = optax.ema": (
        jm.ema_momentum(ALPHA, BETA, debias=True),
        descent(optax.ema(BETA, debias=True), ALPHA),
    ),
    "lion = optax.lion": (
        jm.lion(ALPHA, 0.9, 0.99, weight_decay=0.1),
        optax.lion(ALPHA, 0.9, 0.99, weight_decay=0.1),
    ),
    "signum = optax.signum": (jm.signum(ALPHA, BETA), optax.signum(ALPHA, BETA)),
    "weight decay = optax": (
        jm.sgd(ALPHA, BETA, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(ALPHA, momentum=BETA)),
    ),
    "stacked heavy ball": (
        HB,
        descent(
            jm.scale_by_momentum(
                jax.tree.map(
                    lambda row: row[0],
                    jm.stack(
                        {
                            "hb": jm.coefficients.heavy_ball(BETA),
                            "aggmo": jm.coefficients.aggmo(),
                            "optimistic": jm.coefficients.optimistic_gradient(),
                        }
                    ).values,
                )
            ),
            ALPHA,
        ),
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(name):
    one, other = IDENTITIES[name]
    expected = path(one)
    np.testing.assert_allclose(path(other), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_sutskever_seen_from_its_look_ahead_point():
    """Their velocities use mu_t, our extrapolation beta_t = mu_{t+1}: the same under a schedule."""
    mu = lambda t: 1 - 0.5 / (t // 10 + 1)  # noqa: E731
    theta, v, asked = START, np.zeros(5), []
    for t in range(60):
        look_ahead = theta + mu(t) * v
        asked.append(look_ahead)
        v = mu(t) * v - ALPHA * (HESSIAN @ look_ahead + NOISE[t])
        theta = theta + v
    ours = jm.nesterov(ALPHA, lambda t: mu(jnp.asarray(t + 1, float)))
    np.testing.assert_allclose(path(ours)[:60], asked, rtol=0, atol=1e-12)
    same_mu_twice = optax.inject_hyperparams(optax.sgd, static_args="nesterov")(
        ALPHA, momentum=lambda t: mu(jnp.asarray(t, float)), nesterov=True
    )
    assert np.abs(path(same_mu_twice)[:60] - asked).max() > 1e-2


def test_where_the_learning_rate_stands():
    """Inside is Polyak's two-step rule under a schedule; outside it is PyTorch's."""
    rate = lambda t: 0.04 / (1 + t / 10)  # noqa: E731
    traced = lambda t: rate(jnp.asarray(t, float))  # noqa: E731
    x = previous = START
    polyak = []
    for t in range(60):
        polyak.append(x)
        new = x - rate(t) * (HESSIAN @ x + NOISE[t]) + BETA * (x - previous)
        # beta (x - previous) keeps the old rates: that is the velocity form.
        x, previous = new, x
    np.testing.assert_allclose(path(jm.heavy_ball(traced, BETA))[:60], polyak, rtol=0, atol=1e-12)
    x, buffer, torch_like = START, np.zeros(5), []
    for t in range(60):
        torch_like.append(x)
        buffer = BETA * buffer + HESSIAN @ x + NOISE[t]
        x = x - rate(t) * buffer
    np.testing.assert_allclose(path(jm.sgd(traced, BETA))[:60], torch_like, rtol=0, atol=1e-12)
    assert np.abs(np.array(polyak) - torch_like).max() > 1e-2


def test_chebyshev_is_the_polynomial_and_tends_to_the_best_heavy_ball():
    """Without noise the error is T_t((L+mu-2 lambda)/(L-mu)) / T_t((L+mu)/(L-mu)) of the first."""
    loss = lambda x: x @ jnp.asarray(HESSIAN) @ x / 2  # noqa: E731
    run = jm.optimize(loss, jnp.asarray(START), jm.chebyshev(MU, L), 20, record="params")
    at = lambda z: np.polynomial.chebyshev.Chebyshev.basis(20)(z)  # noqa: E731
    ratio = at((L + MU - 2 * np.diag(HESSIAN)) / (L - MU)) / at((L + MU) / (L - MU))
    np.testing.assert_allclose(run.history["params"][-1], ratio * START, rtol=0, atol=1e-14)
    w, q = 0.0, jm.coefficients.chebyshev(MU, L)
    for _ in range(60):
        w, c = q.step(w)
    s = np.sqrt(L / MU)
    np.testing.assert_allclose(c.decay[0], ((s - 1) / (s + 1)) ** 2, rtol=1e-12)
    np.testing.assert_allclose(c.gain[0], (2 / (np.sqrt(L) + np.sqrt(MU))) ** 2, rtol=1e-12)


def test_fista_bound_holds_at_eval_params():
    """f(x_N) - f* <= 2 L |x_0 - x*|^2 / (N + 1)^2 for every N, on the quadratic."""
    loss = lambda x: x @ jnp.asarray(HESSIAN) @ x / 2  # noqa: E731
    run = jm.optimize(loss, jnp.asarray(START), jm.nesterov_convex(1 / L), 200, record="eval_value")
    bound = 2 * L * START @ START / (np.arange(201) + 1) ** 2
    assert (run.history["eval_value"] <= bound).all()


def test_a_steady_gradient_makes_steps_of_alpha_times_the_dc_gain():
    for optimizer, gain in [
        (HB, 1 / (1 - BETA)),
        (NAG, 1 / (1 - BETA)),
        (jm.ema_momentum(ALPHA, BETA), 1.0),
        (jm.qhm(ALPHA, BETA, 0.7), 1.0),
        (jm.aggmo(ALPHA, (0.0, 0.9)), (1 + 10) / 2),
    ]:
        state = optimizer.init(jnp.ones(()))
        step = jax.jit(optimizer.update)
        for _ in range(400):
            update, state = step(jnp.ones(()), state)
        np.testing.assert_allclose(update, -ALPHA * gain, rtol=1e-12)


def test_a_debiased_average_starts_at_once():
    first = path(jm.ema_momentum(ALPHA, BETA, debias=True), steps=1)[1]
    np.testing.assert_allclose(first, START - ALPHA * (HESSIAN @ START + NOISE[0]), rtol=1e-13)


LINEAR = {name: case for name, case in METHODS.items() if case.linear}


@pytest.mark.parametrize("name", LINEAR)
def test_updates_are_linear_in_the_gradients(name):
    """Where there is no decay of params: F(2 a - 3 b) = 2 F(a) - 3 F(b), over many steps."""
    case = LINEAR[name]
    hyperparameters = {k: v for k, v in case.hyperparameters.items() if k != "weight_decay"}
    optimizer = case.make(**hyperparameters, **case.static)
    a, b = RNG.normal(size=(2, 20, 3))

    @jax.jit
    def updates(gradients):
        state = optimizer.init(gradients[0])
        return jax.lax.scan(lambda s, g: optimizer.update(g, s)[::-1], state, gradients)[1]

    expected = 2 * updates(a) - 3 * updates(b)
    np.testing.assert_allclose(updates(2 * a - 3 * b), expected, rtol=0, atol=1e-13)


def random_settings(seed):
    rng = np.random.default_rng(seed)
    momentum = rng.choice([0.0, rng.uniform(0.1, 0.95)])
    nesterov = bool(momentum > 0 and rng.random() < 0.4)
    return {
        "lr": rng.uniform(0.001, 0.05),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else rng.choice([0.0, rng.uniform(0, 0.9)]),
        "nesterov": nesterov,
        "weight_decay": rng.choice([0.0, rng.uniform(0, 0.3)]),
    }


@pytest.mark.parametrize("seed", range(20))
def test_pytorch_sgd(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    settings = random_settings(seed) | {"maximize": False}
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([x], **settings)
    hessian, points = torch.tensor(HESSIAN), [START]
    for noise in NOISE:
        theirs.zero_grad()
        (x @ hessian @ x / 2 + torch.tensor(noise) @ x).backward()
        theirs.step()
        points.append(x.detach().numpy().copy())
    ours = jm.sgd(
        settings["lr"],
        settings["momentum"],
        settings["dampening"],
        nesterov=settings["nesterov"],
        weight_decay=settings["weight_decay"],
    )
    np.testing.assert_allclose(path(ours), points, rtol=0, atol=1e-10)


def test_pytorch_maximize():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([x], lr=0.01, momentum=0.5, weight_decay=12.0, maximize=True)
    points = [START]
    for noise in NOISE:
        theirs.zero_grad()
        (x @ torch.tensor(HESSIAN) @ x / 2 + torch.tensor(noise) @ x).backward()
        theirs.step()
        points.append(x.detach().numpy().copy())
    ours = jm.sgd(0.01, 0.5, weight_decay=12.0, maximize=True)
    np.testing.assert_allclose(path(ours), points, rtol=0, atol=1e-10)


def test_the_settings_above_cover_every_branch():
    settings = [random_settings(seed) for seed in range(20)]
    for name in ("momentum", "dampening", "nesterov", "weight_decay"):
        values = [bool(s[name]) for s in settings]
        assert any(values), name
        assert not all(values), name
    assert any(s["momentum"] == 0 and s["dampening"] > 0 for s in settings)
