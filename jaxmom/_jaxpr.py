"""Jaxprs, the programs that JAX traces: how to read and interpret them, and what results depend on.

This is the one module that touches JAX's internals. It knows the primitives as objects, the
programs within their parameters, and the differences between the versions of JAX; a module that
interprets programs brings rules, registered in a `RuleTable` on primitive objects.
"""

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Primitive

    Program: TypeAlias = ClosedJaxpr | Jaxpr

ValueT = TypeVar("ValueT")
RuleT = TypeVar("RuleT")
FunctionT = TypeVar("FunctionT")

# Where the primitives are defined; `jax.extend` exports most of them.
_HOMES = (
    "jax.extend.core.primitives",
    "jax._src.lax.lax",
    "jax._src.lax.linalg",
    "jax._src.ad_checkpoint",
    "jax._src.random",
    "jax._src.random.prng",
    "jax._src.prng",
)

# Primitives that jax 0.8 has not got, or that a later version has dropped.
_NOT_EVERYWHERE = {"from_edtype_p", "ormqr_p", "random_unwrap_p", "random_wrap_p", "schur_p"}
_NOT_EVERYWHERE |= {"stack_p", "tile_p", "to_edtype_p", "tridiagonal_solve_p", "unstack_p"}


class _Primitives:
    """The primitives of JAX as attributes, as in ``primitives.add_p``.

    One that another version of JAX has, and this one has not, is None.
    """

    def __getattr__(self, name: str) -> Any:
        for home in _HOMES:
            try:
                module = importlib.import_module(home)
            except ImportError:
                continue
            if getattr(module, name, None) is not None:
                return self.__dict__.setdefault(name, getattr(module, name))
        if name in _NOT_EVERYWHERE:
            return self.__dict__.setdefault(name, None)
        raise AttributeError(f"JAX {jax.__version__} has no primitive {name!r}.")


primitives = _Primitives()


class RuleTable(Generic[RuleT]):
    """Rules for primitives, each of which states the parameters that it takes into account."""

    def __init__(self) -> None:
        self._rules: dict[Any, tuple[RuleT, frozenset[str]]] = {}

    def register(self, *of: "Primitive", params: str = "") -> Callable[[FunctionT], FunctionT]:
        """Return a decorator that registers a rule.

        Args:
          *of: The primitives that have the rule.
          params: The names of the parameters that the rule takes into account, or whose values
            do not matter to it, separated by spaces.
        """

        def add(rule: Any) -> Any:
            entry = rule, frozenset(params.split())
            self._rules |= {primitive: entry for primitive in of if primitive is not None}
            return rule

        return add

    def find(self, equation: "JaxprEqn") -> RuleT | None:
        """Return the rule for an equation, or None.

        A rule does not apply to an equation with a parameter that it does not know, unless that is
        None: another version of JAX may have added it, and with it another meaning.
        """
        rule, known = self._rules.get(equation.primitive, (None, frozenset()))
        if any(name not in known and value is not None for name, value in equation.params.items()):
            return None
        return rule

    @property
    def primitives(self) -> list["Primitive"]:
        """The primitives that have a rule."""
        return list(self._rules)


# Access to programs.


def open_program(program: "Program") -> tuple["Jaxpr", Sequence[Any]]:
    """Return the open jaxpr of a program and its constants."""
    opened: Any = getattr(program, "jaxpr", program)
    return opened, getattr(program, "consts", ())


def called_program(equation: "JaxprEqn") -> "Program | None":
    """Return the program that an equation does no more than call with its operands, if any."""
    name = _calls().get(equation.primitive)
    return None if name is None else equation.params[name]


@functools.cache
def _calls() -> Mapping["Primitive", str]:
    """Return the primitives that call a program, and the parameter that holds it."""
    p = primitives
    named_jaxpr = dict.fromkeys((p.jit_p, p.remat_p), "jaxpr")
    others = (p.call_p, p.closed_call_p, p.custom_jvp_call_p, p.custom_vjp_call_p)
    return named_jaxpr | dict.fromkeys(others, "call_jaxpr")


class ScanParts(NamedTuple):
    """The body of a scan, ``(*constants, *carry, *xs) -> (*carry, *ys)``."""

    body: "Program"
    constants: int
    carry: int


def scan_parts(equation: "JaxprEqn") -> ScanParts:
    """Return the body of a scan and how many of its operands are constant and carried."""
    params = equation.params
    if "num_consts" in params:
        return ScanParts(params["jaxpr"], params["num_consts"], params["num_carry"])
    constants, carry, _ = params["ft_in"].unpack()  # since jax 0.11
    return ScanParts(params["jaxpr"], len(list(constants)), len(list(carry)))


def sub_programs(equation: "JaxprEqn") -> Iterator["Program"]:
    """Yield the programs among the parameters of an equation, however nested."""
    waiting = list(equation.params.values())
    while waiting:
        value = waiting.pop()
        if hasattr(value, "eqns"):
            yield value
        elif isinstance(value, tuple | list):
            waiting += value


def all_equations(program: "Program") -> Iterator["JaxprEqn"]:
    """Yield the equations of a program and of the programs within it."""
    for equation in open_program(program)[0].eqns:
        yield equation
        for inner in sub_programs(equation):
            yield from all_equations(inner)


def as_function(program: "Program") -> Callable[..., list[Any]]:
    """Return a closed program as a function of its arguments."""
    from jax.extend.core import jaxpr_as_fun

    return jaxpr_as_fun(program)


def keep_results(program: "ClosedJaxpr", results: Sequence[int]) -> "ClosedJaxpr":
    """Return a program of the same arguments that computes some of the results, and no more."""
    from jax.extend.core import ClosedJaxpr
    from jax.interpreters.partial_eval import dce_jaxpr

    kept = [index in results for index in range(len(program.jaxpr.outvars))]
    jaxpr, _ = dce_jaxpr(program.jaxpr, kept, instantiate=True)
    return ClosedJaxpr(jaxpr, program.consts)


def has_loop(program: "Program") -> bool:
    """Return whether a program loops: its innermost loops have bodies that do not."""
    loops = (primitives.scan_p, primitives.while_p)
    return any(equation.primitive in loops for equation in all_equations(program))


def is_reference(atom: Any) -> bool:
    """Return whether a variable of a program is a mutable reference, as `jax.new_ref` makes."""
    return hasattr(atom.aval, "inner_aval")


def bind(
    equation: "JaxprEqn", operands: Sequence[Any], params: Mapping[str, Any] | None = None
) -> list[Any]:
    """Return the results of an equation's primitive for other operands or parameters."""
    primitive = equation.primitive
    results = primitive.bind(*operands, **(equation.params if params is None else params))
    return list(results) if primitive.multiple_results else [results]


# Interpretation.


def interpret(
    program: "Program",
    arguments: Sequence[ValueT],
    apply: Callable[["JaxprEqn", list[ValueT]], Sequence[ValueT]],
    constant: Callable[[Any], ValueT],
) -> list[ValueT]:
    """Return the results of a program over values of any kind.

    Args:
      program: What to interpret.
      arguments: Its arguments, as values.
      apply: Returns the results of one equation for its operands.
      constant: Returns the value of a constant array.
    """
    jaxpr, constants = open_program(program)
    names = [*jaxpr.constvars, *jaxpr.invars]
    known = dict(zip(names, [*map(constant, constants), *arguments], strict=True))

    def read(atom: Any) -> ValueT:
        is_literal = hasattr(atom, "val")
        return constant(np.asarray(atom.val, atom.aval.dtype)) if is_literal else known[atom]

    for equation in jaxpr.eqns:
        results = apply(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


Dependence: TypeAlias = frozenset[Any]
_NONE: Dependence = frozenset()


def dependencies(
    program: "Program",
    arguments: Sequence[Dependence],
    visit: Callable[["JaxprEqn", list[Dependence]], object] = lambda *_: None,
) -> list[Dependence]:
    """Return what each result of a program depends on, given what its arguments do.

    Args:
      program: What to analyze; branches and loops are followed.
      arguments: A set of any labels for each argument.
      visit: Called with each equation and the sets of its operands; within loops, several
        times, with sets that grow.
    """

    def apply(equation: "JaxprEqn", operands: list[Dependence]) -> Sequence[Dependence]:
        visit(equation, operands)
        called = called_program(equation)
        if called is not None:
            return dependencies(called, operands, visit)
        if equation.primitive is primitives.scan_p:
            return scan_dependencies(equation, operands, visit)
        if equation.primitive is primitives.while_p:
            return _of_while(equation, operands, visit)
        if equation.primitive is primitives.cond_p:
            index, *others = operands
            branches = [dependencies(b, others, visit) for b in equation.params["branches"]]
            return [index.union(*results) for results in zip(*branches, strict=True)]
        union = _NONE.union(*operands)
        for inner in sub_programs(equation):  # of a primitive that is not known in detail
            dependencies(inner, [union] * len(open_program(inner)[0].invars), visit)
        return [union] * len(equation.outvars)

    return interpret(program, arguments, apply, lambda _: _NONE)


def scan_dependencies(
    equation: "JaxprEqn", operands: Sequence[Dependence], visit: Any = lambda *_: None
) -> list[Dependence]:
    """Return what the results of a scan depend on, after any number of iterations."""
    body, constants, carry = scan_parts(equation)
    return _of_loop(body, operands, constants, carry, visit)


def _of_loop(
    body: "Program", operands: Sequence[Dependence], constants: int, carry: int, visit: Any
) -> list[Dependence]:
    """Return what the results of a loop depend on: the least fixed point of its body."""
    operands = list(operands)
    carried = slice(constants, constants + carry)
    while True:
        results = dependencies(body, operands, visit)
        grown = [a | b for a, b in zip(operands[carried], results[:carry], strict=True)]
        if grown == operands[carried]:
            return [*grown, *results[carry:]]
        operands[carried] = grown


def _of_while(equation: "JaxprEqn", operands: list[Dependence], visit: Any) -> list[Dependence]:
    params = equation.params
    first, second = params["cond_nconsts"], params["body_nconsts"]
    test_constants = operands[:first]
    constants, carry = operands[first : first + second], operands[first + second :]
    while True:
        after = _of_loop(params["body_jaxpr"], [*constants, *carry], second, len(carry), visit)
        (test,) = dependencies(params["cond_jaxpr"], [*test_constants, *after], visit)
        grown = [test | one for one in after]  # how often the body runs depends on the test
        if grown == carry:
            return carry
        carry = grown


def inputs_needed(
    function: Callable[[dict[str, Any]], Any], inputs: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the names of the inputs on which a function's result depends, in their order.

    Args:
      function: ``function(inputs)`` of a dict of arrays, traced once with abstract values.
      inputs: Arrays or their shapes and dtypes, by name.

    Example:
      >>> inputs_needed(lambda x: {"sum": x["a"] + x["c"]}, {"a": 1.0, "b": 2.0, "c": 3.0})
      ('a', 'c')
    """
    leaves = {name: jax.tree.map(lambda _, n=name: n, value) for name, value in inputs.items()}
    program = jax.make_jaxpr(function)(dict(inputs))
    labels = [frozenset({name}) for name in jax.tree.leaves(leaves)]
    needed = _NONE.union(*dependencies(program, labels))
    return tuple(name for name in inputs if name in needed)


# What is known of certain primitives.


def shared_draws(program: "Program", varying: Sequence[bool]) -> str | None:
    """Return the generator of random bits that `jax.vmap` would draw from one key for all lanes.

    XLA's own generator, behind the keys "rbg" and "unsafe_rbg", takes one key for a whole batch:
    `jax.vmap` uses that of the first lane.

    Args:
      program: The program of one lane.
      varying: Whether each of its arguments differs between lanes.

    Returns:
      A name of the first such generator, or None.
    """
    p = primitives
    draws = {p.random_bits_p, p.random_gamma_p}
    derived = {p.random_split_p, p.random_fold_in_p}
    found: list[str] = []

    def visit(equation: "JaxprEqn", operands: list[Dependence]) -> None:
        if not operands or not operands[0]:
            return
        key = str(getattr(equation.invars[0].aval, "dtype", ""))
        if equation.primitive is p.rng_bit_generator_p:
            found.append("lax.rng_bit_generator")
        elif key == "key<urbg>" and equation.primitive in draws | derived:
            found.append("unsafe_rbg")
        elif key == "key<rbg>" and equation.primitive in draws:
            found.append("rbg")

    dependencies(program, [frozenset({0}) if one else _NONE for one in varying], visit)
    return found[0] if found else None


def fills(gather: "JaxprEqn") -> bool:
    """Return whether a gather fills in a number where an index is out of bounds."""
    return gather.params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP


@functools.cache
def lapack_primitives() -> Mapping["Primitive", bool]:
    """Return the primitives of LAPACK, and whether they iterate, as for eigenvalues."""
    p = primitives
    iterate = (p.eig_p, p.eigh_p, p.hessenberg_p, p.schur_p, p.svd_p, p.tridiagonal_p)
    factor = (p.cholesky_p, p.geqp3_p, p.geqrf_p, p.householder_product_p, p.lu_p, p.ormqr_p)
    solve = (p.qr_p, p.triangular_solve_p, p.tridiagonal_solve_p)
    return dict.fromkeys(iterate, True) | dict.fromkeys(factor + solve, False)


def lapack_calls(program: "Program", *, least_axes: int = 0) -> list[str]:
    """Return the names of a program's primitives that XLA:CPU hands to LAPACK, sorted.

    Args:
      program: What is searched, and the programs within it.
      least_axes: Of an operand; with 3, only calls for a batch of matrices count.
    """
    used = {
        equation.primitive
        for equation in all_equations(program)
        if equation.primitive in lapack_primitives()
        and max(getattr(atom.aval, "ndim", 0) for atom in equation.invars) >= least_axes
    }
    return sorted(primitive.name for primitive in used)


@functools.cache
def jaxlib_version() -> tuple[int, ...]:
    """Return the version of jaxlib as numbers."""
    return tuple(map(int, re.findall(r"\d+", importlib.metadata.version("jaxlib"))[:3]))
