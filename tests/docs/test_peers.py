"""The lines of other libraries on the pages of methods make the steps of the methods."""

import importlib
import pathlib
import sys

import numpy as np
import optax
import pytest
from cases import METHODS
from noisy_quadratic import HESSIAN, NOISE, START, path

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "_ext"))
from peers import PEERS

LINES = [(name, peer) for name, peers in PEERS.items() for peer in peers]
OF_OPTAX = [line for line in LINES if line[1].library == "optax"]
OF_TORCH = [line for line in LINES if line[1].library not in ("optax", "keras")]
OF_KERAS = [line for line in LINES if line[1].library == "keras"]
STEPS = 20


def describe(line):
    return f"{line[0]} in {line[1].library}"


def make(name, peer):
    """Our method at the hyperparameters at which it is compared, and these."""
    case = METHODS[name]
    letters = {**case.hyperparameters, **peer.at}
    return case.make(**letters, **case.static), {**letters, **case.static}


@pytest.mark.slow
@pytest.mark.parametrize("line", OF_OPTAX, ids=describe)
def test_lines_of_optax(line):
    ours, letters = make(*line)
    theirs = eval(line[1].code, {"optax": optax}, letters)
    np.testing.assert_allclose(path(ours, STEPS), path(theirs, STEPS), rtol=0, atol=1e-12)


# qhoptim calls a form of add_ that PyTorch wants written otherwise.
@pytest.mark.filterwarnings("ignore:This overload of add_:UserWarning")
@pytest.mark.parametrize("line", OF_TORCH, ids=describe)
def test_lines_of_torch(line):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    name, peer = line
    root = peer.code.partition("(")[0].rpartition(".")[0]
    pytest.importorskip(root, reason=f"{peer.library} is not installed")
    top = root.partition(".")[0]
    names = {top: importlib.import_module(top)}
    ours, letters = make(name, peer)
    x = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    theirs, hessian, points = eval(peer.code, names, {"params": [x], **letters}), HESSIAN, [START]
    if hasattr(theirs, "train"):  # schedule-free has a mode
        theirs.train()
    for noise in NOISE[:STEPS]:
        theirs.zero_grad()
        (x @ torch.tensor(hessian) @ x / 2 + torch.tensor(noise) @ x).backward()
        theirs.step()
        points.append(x.detach().numpy().copy())
    np.testing.assert_allclose(path(ours, STEPS), np.array(points), rtol=0, atol=1e-10)


@pytest.mark.parametrize("line", OF_KERAS, ids=describe)
def test_lines_of_keras(line):
    """Keras documents its rule: ``v <- mu v - lr g; y <- y + v``, or ``y + mu v - lr g``."""
    ours, letters = make(*line)
    keywords = eval(line[1].code.replace("keras.optimizers.SGD", "read"), {"read": read}, letters)
    y, v, points = START, np.zeros_like(START), [START]
    for noise in NOISE[:STEPS]:
        g = HESSIAN @ y + noise
        v = keywords["momentum"] * v - keywords["lr"] * g
        y = y + (keywords["momentum"] * v - keywords["lr"] * g if keywords["nesterov"] else v)
        points.append(y)
    np.testing.assert_allclose(path(ours, STEPS), np.array(points), rtol=0, atol=1e-12)


def read(lr, momentum=0.0, nesterov=False):
    """The arguments of Keras' SGD."""
    return {"lr": lr, "momentum": momentum, "nesterov": nesterov}
