"""The work of one lane, counted on its jaxpr before anything is compiled.

The counts decide where the autotuner starts, so rough ones will do: whether products of matrices
dominate, how many operations are run, how many bytes a lane carries through its loops, and how long
it takes, to a factor of ten.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from jaxmom import _jaxpr
from jaxmom._jaxpr import primitives as p

_UNKNOWN_TRIPS = 100  # of a loop that ends when its lane says so

# What a core does in a second at a good width: operations within products of matrices, and numbers
# written by everything else, most of which the compiler fuses.
_MULTIPLICATIONS_PER_SECOND, _ELEMENTS_PER_SECOND = 5e10, 1e10


class Work(NamedTuple):
    """What one lane computes.

    Attributes:
      multiplications: Floating-point operations in products of matrices and convolutions.
      elements: Numbers that all other operations write, and the operations within calls of LAPACK.
      carried_bytes: The most that one of its loops carries from step to step.
      written_bytes: The most that one operation writes.
      loop_bytes: The most that a loop carries, with twice what an operation in it writes.
      calls: How many operations of any size are run.
      has_unknown_loop: Whether a loop runs until its lane ends it.
      has_convolution: Whether there is a convolution.
    """

    multiplications: float = 0.0
    elements: float = 0.0
    carried_bytes: float = 0.0
    written_bytes: float = 0.0
    loop_bytes: float = 0.0
    calls: float = 0.0
    has_unknown_loop: bool = False
    has_convolution: bool = False

    @property
    def seconds(self) -> float:
        """Roughly how long a lane takes on one core, right to a factor of ten or so."""
        return (
            self.multiplications / _MULTIPLICATIONS_PER_SECOND
            + self.elements / _ELEMENTS_PER_SECOND
        )

    @property
    def is_products(self) -> bool:
        """Whether products of matrices take most of the time."""
        return (
            self.multiplications / _MULTIPLICATIONS_PER_SECOND
            > self.elements / _ELEMENTS_PER_SECOND
        )

    def repeat(self, trips: float) -> "Work":
        """Return the work of a loop whose body does this.

        Args:
          trips: Of the loop. What it carries does not grow with them.
        """
        return self._replace(
            multiplications=trips * self.multiplications,
            elements=trips * self.elements,
            calls=trips * self.calls,
        )

    def join(self, other: "Work") -> "Work":
        """Return the work of both."""
        return Work(
            self.multiplications + other.multiplications,
            self.elements + other.elements,
            max(self.carried_bytes, other.carried_bytes),
            max(self.written_bytes, other.written_bytes),
            max(self.loop_bytes, other.loop_bytes),
            self.calls + other.calls,
            self.has_unknown_loop or other.has_unknown_loop,
            self.has_convolution or other.has_convolution,
        )


def count_work(program: Any, only: Collection[int] | None = None) -> Work:
    """Count the work of a program.

    Args:
      program: The jaxpr of one lane. Of branches, the most costly one counts.
      only: The `id` of each equation that counts; by default all of them do.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def power(a, x):
      ...     return jax.lax.fori_loop(0, 10, lambda _, x: a @ x, x)
      >>> work = count_work(jax.make_jaxpr(power)(jnp.ones((4, 4)), jnp.ones(4)))
      >>> work.multiplications, work.is_products
      (320.0, True)
    """
    total = Work()
    for equation in _jaxpr.open_program(program)[0].eqns:
        if only is None or id(equation) in only:
            total = total.join(_count_equation(equation, only))
    return total


def shared_work(program: Any, shared: int) -> float:
    """Return which share of the work of a lane is the same in all lanes.

    Lanes side by side do it once, and lanes in turn each for itself, if it is in a loop.

    Args:
      program: The jaxpr of one lane.
      shared: How many of its arguments, the first ones, are the same in all lanes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def scaled_power(a, x):
      ...     return (a @ a @ a) * x
      >>> program = jax.make_jaxpr(scaled_power)(jnp.ones((64, 64)), 1.0)
      >>> round(shared_work(program, 1), 3), shared_work(program, 0)
      (0.981, 0.0)
    """
    count = len(_jaxpr.open_program(program)[0].invars)
    varying: set[int] = set()

    def visit(equation: Any, operands: list[Any]) -> None:
        if any(operands):
            varying.add(id(equation))

    lane = frozenset({"lane"})
    _jaxpr.dependencies(program, [frozenset()] * shared + [lane] * (count - shared), visit)
    own, whole = count_work(program, varying).seconds, count_work(program).seconds
    return 1 - own / whole if whole else 0.0


def _count_equation(equation: Any, only: Collection[int] | None) -> Work:
    """Count the work of one equation: of a loop with its trips, of a product by its shapes.

    LAPACK counts by its operations too; all else by the numbers that it writes, whether or not the
    compiler fuses it.
    """
    primitive = equation.primitive
    if primitive is p.scan_p:
        body, constants, carry = _jaxpr.scan_parts(equation)
        carried = _count_bytes(equation.invars[constants : constants + carry])
        return _count_loop(count_work(body, only), carried).repeat(equation.params["length"])
    if primitive is p.while_p:
        once = _count_loop(
            count_work(equation.params["body_jaxpr"], only), _count_bytes(equation.outvars)
        )
        return once.repeat(_UNKNOWN_TRIPS)._replace(has_unknown_loop=True)
    if primitive is p.cond_p:
        branches = [count_work(branch, only) for branch in equation.params["branches"]]
        return max(branches, key=lambda work: work.seconds)
    inner = list(_jaxpr.sub_programs(equation))
    called = _jaxpr.called_program(equation)
    if called is not None:
        return count_work(called, only)
    written = float(sum(_size(variable) for variable in equation.outvars))
    size = _count_bytes(equation.outvars)
    if primitive is p.dot_general_p:
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        products = 2 * written * math.prod(shape[axis] for axis in contracted)
        return Work(multiplications=products, written_bytes=size, calls=1)
    if primitive is p.conv_general_dilated_p:
        kernel = equation.invars[1].aval.shape
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        products = 2 * written * math.prod(kernel) / max(outputs, 1)
        return Work(multiplications=products, written_bytes=size, calls=1, has_convolution=True)
    written += _count_lapack(equation)
    total = Work(elements=written, written_bytes=size, calls=1)
    for program in inner:  # of a primitive that is not known in detail
        total = total.join(count_work(program, only))
    return total


def _count_lapack(equation: Any) -> float:
    """Return the operations of a call of LAPACK, a fifth as fast as those in large products."""
    iterates = _jaxpr.lapack_primitives().get(equation.primitive)
    if iterates is None:
        return 0.0
    matrix = equation.invars[0]
    return (20.0 if iterates else 2.0) * _size(matrix) * min(matrix.aval.shape[-2:])


def _count_loop(once: Work, carried: float) -> Work:
    """Return the work of one trip, with the bytes that its loop carries and works on."""
    return once.join(Work(carried_bytes=carried, loop_bytes=carried + 2 * once.written_bytes))


def _size(atom: Any) -> int:
    """Return how many numbers a variable holds."""
    return math.prod(getattr(atom.aval, "shape", ()))


def _count_bytes(atoms: Any) -> float:
    """Return the bytes of some variables; a typed key counts as 8."""
    sizes = (_size(atom) * getattr(atom.aval.dtype, "itemsize", 8) for atom in atoms)
    return float(sum(sizes))
