"""The code blocks of the guide to adding a method: they run, and make the method they describe."""

import operator
import pathlib
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "adding_a_method.md"


def test_the_guide_to_adding_a_method_runs():
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text("utf8"), re.S | re.M)
    coefficients, method, row = {}, {}, {}
    for block, names in zip(blocks, (coefficients, method, row), strict=True):
        exec(textwrap.dedent(block), names)

    made = coefficients["optimistic_gradient"](0.8)
    assert jax.tree.all(jax.tree.map(operator.eq, made, jm.coefficients.optimistic_gradient(0.8)))
    case = row["METHODS"]["optimistic_gradient"]
    optimizer = method["optimistic_gradient"](**case.hyperparameters)
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, 3, record="params")
    points = case.paper(lambda x, t: x, np.array(1.0), **case.hyperparameters)
    expected = [next(points)[0] for _ in range(4)]
    np.testing.assert_allclose(run.history["params"], expected, rtol=1e-14)
