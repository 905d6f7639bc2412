"""The formulas of docstrings as TeX, against what one would write by hand."""

import inspect
import pathlib
import re
import sys

import pytest

import jaxmom as jm

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "_ext"))
from typeset import is_code, typeset, typeset_prose

BY_HAND = {
    "v <- beta v - alpha g": r"v \leftarrow \beta v - \alpha g",
    "y_{t+1} = y_t - alpha g_t": r"y_{t + 1} = y_{t} - \alpha g_{t}",
    "(1-b1) g": r"(1 - b_{1}) g",
    "sqrt(v^) + eps": r"\sqrt{\hat{v}} + \epsilon",
    "m1^ + m_t^": r"\hat{m}_{1} + \hat{m}_{t}",
    "1 - beta^{t+1}": r"1 - \beta^{t + 1}",
    "beta^2 m": r"\beta^{2} m",
    "|x_N - x*|^2": r"\lVert x_{N} - x^{\star} \rVert^{2}",
    "<g_t, g_{t-1}>": r"\langle g_{t} , g_{t - 1}\rangle",
    "sum_i w_i m_i": r"\sum_{i} w_{i} m_{i}",
    "min(1, c a^2)": r"\operatorname{min} (1 , c a^{2})",
    "grad f(y)": r"\nabla f (y)",
    "(f - l)_+": r"(f - l)_+",
    "j^(-2 a)": r"j^{- 2 a}",
    "g_{-1} = 0": r"g_{- 1} = 0",
    "sqrt mu": r"\sqrt{\mu}",
    "x' - x": r"x' - x",
    "a <= b": r"a \le b",
    "decay_i m_i": r"\,\mathrm{decay}_{i}\, m_{i}",
    "g_previous": r"g_{\mathrm{previous}}",
    "beta_max t": r"\beta_{\text{max}} t",
    "learning_rate t": r"\,\text{learning rate}\, t",
}


@pytest.mark.parametrize("text", BY_HAND)
def test_formulas_are_what_one_would_write(text):
    assert typeset(text) == BY_HAND[text]


def test_code_stays_code():
    for text in ('start="first_gradient"', "sgd(nesterov=True)", "jnp.array(1.5)", "previous_grad"):
        assert is_code(text), text
    for text in ("m <- beta m + (1-beta) g", "1 / (1 - b1)", "b_t = A_t / ((1-q) A_{t+1})"):
        assert not is_code(text), text


def test_statements_stand_on_lines_of_their_own():
    found = typeset_prose("The ball: ``v <- beta v - g; y <- y + v``. See `sgd`.")
    lines = [line for line in found.splitlines() if line and line != "$$"]
    expected = [r"v \leftarrow \beta v - g", r"y \leftarrow y + v."]
    assert lines == ["The ball: ", *expected, " See {py:obj}`sgd`."]


def test_a_bracket_without_a_partner_is_refused():
    with pytest.raises(ValueError, match="has no '\\)'"):
        typeset("(1 - beta")


LEADS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": inspect.getdoc(getattr(module, name)) or ""
    for module in (jm.methods, jm.coefficients)
    for name in module.__all__
}


@pytest.mark.parametrize("name", LEADS)
def test_every_formula_of_the_catalogue_is_understood(name):
    """Brackets are balanced, and no mark of the docstring is left over."""
    found = typeset_prose(re.split(r"\n(?:Args|Source|Raises|Example|Returns):", LEADS[name])[0])
    for formula in re.findall(r"\$\$\n(.*?)\n\$\$|\$([^$\n]+)\$", found):
        text = "".join(formula)
        assert text.count("{") == text.count("}")
        assert "<-" not in text
        assert "`" not in text
        assert not re.search(r"(?<!\\)\b(alpha|beta|sqrt|sum)\b", text), text
