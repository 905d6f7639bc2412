"""What an optimizer shows of itself in a console and in a notebook."""

import jax
import jax.numpy as jnp
import optax
import pytest
from cases import METHODS

import jaxmom as jm


def make_schedule(start):
    def decay(count):
        return start / (1 + count)

    return decay


@pytest.mark.parametrize(
    ("optimizer", "shown"),
    [
        (jm.heavy_ball(0.1, beta=0.9), "heavy_ball(learning_rate=0.1, beta=0.9)"),
        (jm.lift(optax.clip)(1.0), "clip(max_delta=1.0)"),
        (
            jm.chain(jm.lift(optax.clip)(1.0), jm.heavy_ball(0.1, beta=0.9)),
            "chain(clip(max_delta=1.0), heavy_ball(learning_rate=0.1, beta=0.9))",
        ),
        (
            jm.partition({"a": jm.heavy_ball(0.1), "b": optax.identity()}, {"x": "a", "y": "b"}),
            "partition(a=heavy_ball(learning_rate=0.1, beta=0.9), b=identity)",
        ),
        (jm.heavy_ball(jnp.array(0.5)), "heavy_ball(learning_rate=0.5, beta=0.9)"),
        (jm.heavy_ball(0.5, jnp.zeros(3)), "heavy_ball(learning_rate=0.5, beta=float64[3])"),
        (jm.heavy_ball(jm.schedules.demon(0.9, steps=5)), "demon"),
        (jm.heavy_ball(make_schedule(0.1)), "heavy_ball(learning_rate=decay(...), beta=0.9)"),
        (jm.lift(optax.sgd)(make_schedule(0.1)), "sgd(learning_rate=decay(...)"),
        (jm.lookahead(jm.heavy_ball(0.1), 5, 0.5), "lookahead(heavy_ball(learning_rate=0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_optimizer_prints_as_its_method(optimizer, shown):
    assert shown in repr(optimizer)
    assert "0x" not in repr(optimizer)


def test_every_method_prints_in_one_short_line():
    for name, case in METHODS.items():
        text = repr(case.make(**case.hyperparameters, **case.static))
        assert len(text) < 300, (name, text)
        assert "<" not in text, (name, text)


def test_a_notebook_shows_a_row_for_each_hyperparameter():
    optimizer = jm.chain(jm.lift(optax.clip)(1.0), jm.heavy_ball(0.1, beta=0.9))
    table = optimizer._repr_html_()
    for cell in ("clip", "max_delta", "heavy_ball", "learning_rate", "0.9"):
        assert f"<td>{cell}</td>" in table


def test_what_a_trace_makes_of_an_optimizer_prints():
    optimizer, shown = jm.heavy_ball(0.1, beta=0.9), []
    jax.eval_shape(lambda traced: shown.append(repr(traced)), optimizer)
    gradient = jax.tree.map(lambda leaf: None, optimizer)
    assert shown == ["heavy_ball(beta=float64[], learning_rate=float64[])"]
    assert repr(gradient) == "heavy_ball(beta=None, learning_rate=None)"
