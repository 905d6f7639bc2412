"""The page docs/lifted_optax.md, made of what lifting each factory of optax gives.

``python tests/lifted_table.py`` writes it; a test of `test_lift` fails if it is stale.
"""

import inspect
import pathlib

import optax
import optax_factories

import jaxmom as jm
from jaxmom import _arguments, _lift

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "lifted_optax.md"

HEAD = """# Lifted optax

`jm.lift(factory)` makes the numbers of any optax factory leaves: they may be traced, batched by
`jax.vmap`, differentiated, replaced by name, or schedules. The tests lift each of the {count}
factories of optax {version} and its `contrib`, and get optax's numbers, to the last bit in float32
where hyperparameters are Python floats. All of them differ from optax in three ways: updates keep
the gradient's dtype and states keep theirs; parameters in bfloat16 and float16 get a state in
float32; and a schedule may stand wherever a number may.

* **leaves**: numbers, and optimizers, whose own leaves are kept.
* **static**: part of the compiled program: flags, counts, masks, functions, dtypes.
* **differences**: what an `update` needs by keyword (`jm.optimize` passes value, grad and
  value_fn); numbers that stay static because optax tests them with a Python `if`; numbers that
  are used for the first state only, so that a schedule of them is refused.

| factory | leaves | static | differences |
|---|---|---|---|
"""

TWINS = """
## Schedules

optax's schedules test their shape (lengths, rates, a peak) with a Python `if`, so that it cannot be
traced. Those of `jm.schedules` can be traced in every number; the tests compare the two.

| optax | `s = jm.schedules` |
|---|---|
| `constant_schedule(v)` | `s.constant(v)` |
| `linear_schedule(a, b, n)` | `s.linear(a, b, n)` |
| `warmup_constant_schedule(a, b, n)` | `s.linear(a, b, n)` |
| `polynomial_schedule(a, b, p, n, begin)` | `s.join([a, s.polynomial(a, b, n, p)], [begin])` |
| `cosine_decay_schedule(a, n, alpha)` | `s.cosine(a, alpha * a, n)` |
| `exponential_decay(a, n, rate, begin)` | `s.join([a, s.exponential(a, rate, n)], [begin])` |
| the same, `end_value=end` | `lambda t: jnp.maximum(schedule(t), end)` |
| the same, `staircase=True` | `lambda t: schedule(jnp.floor(t / n) * n)` |
| `warmup_cosine_decay_schedule(a, peak, w, n, end)` | `s.warmup_cosine(a, peak, w, n, end)` |
| `warmup_exponential_decay_schedule` | `s.join` of `s.linear` and `s.exponential` |
| `cosine_onecycle_schedule(n, peak, ...)` | `s.one_cycle(peak, n, ...)` |
| `linear_onecycle_schedule(n, peak, ...)` | `s.join` of three `s.linear` |
| `piecewise_constant_schedule(a, {n: factor})` | `s.join([a, a * factor], [n])` |
| `piecewise_interpolate_schedule("linear", ...)` | `s.join` of `s.linear`, one for each interval |
| `sgdr_schedule` | `s.join` of `s.warmup_cosine` |
| `join_schedules` | `s.join` |
"""


def render_page():
    """Return the text of the page."""
    rows = [_row(name, factory) for name, factory in optax_factories.FACTORIES.items()]
    return HEAD.format(count=len(rows), version=optax.__version__) + "\n".join(rows) + "\n" + TWINS


def _row(name, factory):
    args, kwargs = factory.arguments
    lifted = jm.lift(factory.function)(*args, **kwargs)
    leaves, static = [], []
    for parameter in factory.parameters.values():
        (leaves if _is_leaf(factory, parameter) else static).append(f"`{parameter.name}`")
    cells = ", ".join(leaves), ", ".join(static), "; ".join(_differences(name, factory, lifted))
    return f"| `{name}` | " + " | ".join(cell or "–" for cell in cells) + " |"


def _is_leaf(factory, parameter):
    argument = _arguments.Argument(parameter.name, None, False, parameter)
    kind = _arguments.kind_of(factory.function, argument, frozenset(), frozenset())
    args, kwargs = factory.arguments
    given = args if parameter.kind is parameter.VAR_POSITIONAL else kwargs.get(parameter.name)
    return kind == "number" or _holds_optimizers(given)


def _holds_optimizers(value):
    values = value.values() if isinstance(value, dict) else [value]
    if isinstance(value, tuple) and not isinstance(value, optax.GradientTransformation):
        return any(map(_holds_optimizers, value))
    return any(isinstance(one, optax.GradientTransformation) for one in values)


def _differences(name, factory, lifted):
    short = name.removeprefix("contrib.")
    if needs := _lift.UPDATE_NEEDS.get(short):
        yield f"an update needs {', '.join(needs)}"
    if compared := sorted(_arguments.COMPARED.get(short, ())):
        yield f"{', '.join(compared)} compared by optax"
    check = lifted.update.func.fns.check
    names = inspect.signature(factory.function).parameters
    kept = [label for label in check.kept if label in names and label in _numbers(lifted)]
    if kept:
        yield f"no schedule of {', '.join(kept)}"


def _numbers(lifted):
    return {n for n, value in jm.hyperparameters(lifted).items() if isinstance(value, float)}


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf8")
