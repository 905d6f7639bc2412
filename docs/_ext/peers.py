"""What a method is in other libraries: one line of code for each, which the tests evaluate.

The letters in a line are the hyperparameters of the method in jaxmom; ``params`` are PyTorch's.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Peer:
    """One line of another library that is the method.

    Attributes:
      library: Its name, as one installs it.
      code: The line.
      note: Where the two differ, or for which hyperparameters they agree.
      at: Hyperparameters at which the test compares them, in the place of those of the row.
    """

    library: str
    code: str
    note: str = ""
    at: Mapping[str, float] = dataclasses.field(default_factory=dict)


_NO_DECAY = {"weight_decay": 0.0}
_CONSTANT = "at a constant learning rate"


def _momentum(letter: str, nesterov: bool, note: str = "") -> tuple[Peer, ...]:
    """Return momentum as PyTorch, optax and Keras write it."""
    more = ", nesterov=True" if nesterov else ""
    return (
        Peer("torch", f"torch.optim.SGD(params, lr=learning_rate, momentum={letter}{more})", note),
        Peer("optax", f"optax.sgd(learning_rate, momentum={letter}{more})", note),
        Peer("keras", f"keras.optimizers.SGD(learning_rate, momentum={letter}{more})"),
    )


PEERS: dict[str, tuple[Peer, ...]] = {
    "gradient_descent": (
        Peer("torch", "torch.optim.SGD(params, lr=learning_rate)"),
        Peer("optax", "optax.sgd(learning_rate)"),
        Peer("keras", "keras.optimizers.SGD(learning_rate)"),
    ),
    "heavy_ball": _momentum("beta", nesterov=False, note=_CONSTANT),
    "nesterov": _momentum("beta", nesterov=True, note="at constant hyperparameters"),
    "sutskever_nesterov": _momentum("beta", nesterov=True, note="at constant hyperparameters"),
    "ema_momentum": (
        Peer("torch", "torch.optim.SGD(params, lr=learning_rate * (1 - beta), momentum=beta)"),
        Peer(
            "optax",
            "optax.chain(optax.ema(beta, debias=False), optax.scale(-learning_rate))",
            "`debias=True` for the debiased one",
        ),
        Peer("keras", "keras.optimizers.SGD(learning_rate * (1 - beta), momentum=beta)"),
    ),
    "sgd": (
        Peer(
            "torch",
            "torch.optim.SGD(params, lr=learning_rate, momentum=momentum, dampening=dampening, "
            "weight_decay=weight_decay)",
        ),
        Peer(
            "optax",
            "optax.chain(optax.add_decayed_weights(weight_decay), "
            "optax.sgd(learning_rate, momentum))",
            "without dampening",
            {"dampening": 0.0},
        ),
    ),
    "qhm": (
        Peer("qhoptim", "qhoptim.pyt.QHM(params, lr=learning_rate, momentum=beta, nu=nu)"),
        Peer(
            "pytorch_optimizer",
            "pytorch_optimizer.QHM(params, lr=learning_rate, momentum=beta, nu=nu)",
        ),
    ),
    "aggmo": (
        Peer("pytorch_optimizer", "pytorch_optimizer.AggMo(params, lr=learning_rate, betas=betas)"),
    ),
    "pnm": (
        Peer(
            "pytorch_optimizer",
            "pytorch_optimizer.PNM(params, lr=learning_rate, betas=(beta, beta0))",
        ),
    ),
    "accelerated_sgd": (
        Peer(
            "pytorch_optimizer",
            "pytorch_optimizer.AccSGD(params, lr=learning_rate, kappa=kappa, xi=xi, constant=eps)",
        ),
    ),
    "schedule_free": (
        Peer(
            "schedulefree",
            "schedulefree.SGDScheduleFree(params, lr=learning_rate, momentum=beta, "
            "warmup_steps=warmup)",
            "for a whole number of steps",
            {"warmup": 7.0},
        ),
    ),
    "lion": (Peer("optax", "optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)"),),
    "signum": (
        Peer(
            "optax",
            "optax.chain(optax.ema(beta, debias=False), optax.scale_by_sign(), "
            "optax.scale(-learning_rate))",
            "without weight decay",
            _NO_DECAY,
        ),
    ),
    "simplified_ademamix": (
        Peer(
            "optax",
            "optax.contrib.simplified_ademamix(learning_rate, b1=b1, b2=b2, alpha=alpha, eps=eps, "
            "weight_decay=weight_decay)",
        ),
    ),
    "ademamix": (
        Peer(
            "optax",
            "optax.contrib.ademamix(learning_rate, b1=b1, b2=b2, b3=b3, alpha=alpha, eps=eps, "
            "weight_decay=weight_decay)",
            "at constant alpha and b3",
        ),
    ),
    "adopt": (
        Peer(
            "optax",
            "optax.contrib.adopt(learning_rate, b1=b1, b2=b2, eps=eps)",
            "without weight decay",
            _NO_DECAY,
        ),
    ),
}
