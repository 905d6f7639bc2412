"""The numbers on the pages of methods, against the optimizers themselves."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import METHODS

from jaxmom import theory

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "_ext"))
import method_facts

STEP = 6


@pytest.mark.parametrize("name", ["aggmo", "nesterov_convex"])
def test_the_kernel_is_what_the_optimizer_does_with_each_gradient(name):
    """Constant coefficients, and some that vary from step to step."""
    case = METHODS[name]
    optimizer = case.make(**case.hyperparameters)

    def last_update(gradients):
        params = jnp.zeros(STEP + 1)
        state = optimizer.init(params)
        for gradient in gradients:  # each entry of params gets one of the gradients alone
            update, state = optimizer.update(gradient, state, params)
        return update

    measured = jax.jit(last_update)(jnp.eye(STEP + 1))
    weights = method_facts.filter_kernel(method_facts.find_filters(name, case), STEP)
    expected = -case.hyperparameters["learning_rate"] * weights[::-1]
    np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-15)


def test_padding_changes_nothing():
    case = METHODS["aggmo"]
    system = theory.linearize(case.make(**case.hyperparameters))
    padded = method_facts.pad_system(system, len(system.names) + 2)
    for quantity in (theory.effective_learning_rate, theory.memory):
        np.testing.assert_allclose(quantity(padded), quantity(system), rtol=1e-12)
    found = np.asarray(theory.eigenvalues(padded, 3.0))
    np.testing.assert_allclose(found[:-2], theory.eigenvalues(system, 3.0), rtol=1e-9)
    np.testing.assert_allclose(found[-2:], 0, atol=1e-12)
