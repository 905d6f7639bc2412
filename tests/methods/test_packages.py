"""Parity with PyTorch and with the official or best-known packages, where they are installed."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_quadratic import HESSIAN, MU, NOISE, START, L, follow, path

import jaxmom as jm


def descent(filtered, alpha):
    return jm.chain(filtered, optax.scale(-alpha))


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


def torch_path(make_optimizer, filter_gradients=None):
    """The points of an optimizer of PyTorch on the same noisy quadratic."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module = torch.nn.Module()
    module.x = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    theirs, hessian, points = make_optimizer([module.x]), torch.tensor(HESSIAN), [START]
    for noise in NOISE:
        theirs.zero_grad()
        (module.x @ hessian @ module.x / 2 + torch.tensor(noise) @ module.x).backward()
        if filter_gradients is not None:
            filter_gradients(module)
        theirs.step()
        points.append(module.x.detach().numpy().copy())
    return np.array(points)


@pytest.mark.parametrize("seed", range(20))
def test_pytorch_sgd(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    settings = random_settings(seed)
    points = torch_path(lambda x: torch.optim.SGD(x, **settings, maximize=False))
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
    settings = {"lr": 0.01, "momentum": 0.5, "weight_decay": 12.0, "maximize": True}
    points = torch_path(lambda x: torch.optim.SGD(x, **settings))
    ours = jm.sgd(0.01, 0.5, weight_decay=12.0, maximize=True)
    np.testing.assert_allclose(path(ours), points, rtol=0, atol=1e-10)


def test_the_package_schedulefree():
    """With its warm-up, at the point of the gradient and at the average."""
    package = pytest.importorskip("schedulefree", reason="pip install schedulefree")
    for warmup in (0, 7):
        made = []

        def make(x, warmup=warmup, made=made):
            made.append(package.SGDScheduleFree(x, lr=0.1, momentum=0.8, warmup_steps=warmup))
            made[0].train()
            return made[0]

        ours = jm.schedule_free(0.1, 0.8, warmup=warmup)
        np.testing.assert_allclose(path(ours), torch_path(make), rtol=0, atol=1e-10)
        made[0].eval()
        average = made[0].param_groups[0]["params"][0].detach().numpy()
        found = follow(ours, jnp.asarray(NOISE))[1][-1]
        np.testing.assert_allclose(found, average, rtol=0, atol=1e-10)


def test_the_package_fsgdm():
    package = pytest.importorskip("fsgdm", reason="pip install fsgdm")
    settings = {"weight_decay": 0.0, "c_scaling": 0.1, "n_stages": 9, "sigma": 60}
    theirs = torch_path(lambda x: package.FSGDM(x, lr=0.03, v_coefficient=0.8, **settings))
    ours = jm.fsgdm(0.03, steps=60, stages=9, c=0.1, v=0.8)
    np.testing.assert_allclose(path(ours), theirs, rtol=0, atol=1e-10)


def test_the_package_pytorch_optimizer():
    optimizers = pytest.importorskip(
        "pytorch_optimizer.optimizer", reason="pip install pytorch-optimizer"
    )
    pairs = [
        (lambda x: optimizers.PNM(x, lr=0.05, betas=(0.9, 0.8)), jm.pnm(0.05, 0.9, 0.8)),
        (
            lambda x: optimizers.AccSGD(x, lr=0.04, kappa=100.0, xi=5.0, constant=0.7),
            jm.accelerated_sgd(0.04, kappa=100.0, xi=5.0, eps=0.7),
        ),
        (
            lambda x: optimizers.AggMo(x, lr=0.03, betas=(0.0, 0.9, 0.95)),
            jm.aggmo(0.03, (0.0, 0.9, 0.95)),
        ),
        (
            lambda x: optimizers.QHM(x, lr=0.1, momentum=0.95, nu=0.7),
            jm.qhm(0.1, 0.95, 0.7),
        ),
    ]
    for theirs, ours in pairs:
        np.testing.assert_allclose(path(ours), torch_path(theirs), rtol=0, atol=1e-10)


def test_grokfast_of_pytorch_optimizer():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    package = pytest.importorskip(
        "pytorch_optimizer.optimizer.grokfast", reason="pip install pytorch-optimizer"
    )
    averages = {}

    def filter_gradients(module):
        averages.update(package.gradfilter_ema(module, averages or None, alpha=0.9, lamb=2.0))

    theirs = torch_path(lambda x: torch.optim.SGD(x, lr=0.02), filter_gradients)
    ours = descent(jm.grokfast(0.9, 2.0), 0.02)
    np.testing.assert_allclose(path(ours), theirs, rtol=0, atol=1e-10)


def test_the_conversions_of_qhoptim():
    """Each of its equivalents in QHM is the method that we have under the same name."""
    convert = pytest.importorskip("qhoptim.common.param_conv", reason="pip install qhoptim")
    pairs = [
        (
            convert.from_synthesized_nesterov(0.05, 0.8, 0.5),
            jm.synthesized_nesterov(0.05, 0.8, 0.5),
        ),
        (convert.from_robust_momentum(L, L / MU, 0.8), jm.robust_momentum(MU, L, 0.8)),
        (convert.from_robust_momentum(L, L / MU, None), jm.triple_momentum(MU, L)),
        (
            convert.from_accsgd(0.04, 100.0, 5.0, 0.7),
            jm.accelerated_sgd(0.04, kappa=100.0, xi=5.0, eps=0.7),
        ),
    ]
    for qhm, ours in pairs:
        theirs = jm.qhm(qhm.alpha, qhm.beta, qhm.nu)
        np.testing.assert_allclose(path(ours), path(theirs), rtol=0, atol=1e-10)


def test_the_settings_above_cover_every_branch():
    settings = [random_settings(seed) for seed in range(20)]
    for name in ("momentum", "dampening", "nesterov", "weight_decay"):
        values = [bool(s[name]) for s in settings]
        assert any(values), name
        assert not all(values), name
    assert any(s["momentum"] == 0 and s["dampening"] > 0 for s in settings)
