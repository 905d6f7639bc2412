"""Run optax's own tests, as its wheel ships them, on lifted factories and on our methods.

A table of tests is bound when its class is made, so the source of a test module is executed with
our rows added to its tables, and with our function in the place of the one that makes an optimizer
of a row. Prints how many tests passed, failed and were skipped, as JSON.
"""

import ast
import importlib.util
import json
import pathlib
import re
import sys
import types
import unittest
import warnings

import optax
import optax.contrib
from optax._src import alias

import jaxmom as jm

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from cases import METHODS

# The tests of optax that say nothing of a lifted factory, and why.
LEFT_OUT = {
    "test_optimization": "10,000 compiled calls from Python for each row; our tests compare bits",
    "test_optimizers": "30,000 steps for each row; our tests compare bits",
    "test_explicit_dtype": "its table is of optax.sgd and optax.adam, by other means",
    "LBFGSTest": "it makes optax.lbfgs itself",
}


# Rows of ours that a test does not apply to, by words in the test and its row, and why.
OURS, INJECTED = "alias_test", "can_be_wrapped_in_inject_hyperparams"
NO_ROWS = {
    (
        OURS,
        INJECTED,
        "muon'",
    ): "its row is made by a function of any keywords, without names",
    (OURS, INJECTED, "'yellowfin'"): "its window is the length of an array, and would be traced",
    ("'complex_momentum'", "numpy.complex"): "it refuses complex params, as its docstring says",
}


def load(name, replacements, rows):
    """Execute a test module of optax with other functions, and with more rows in its tables."""
    origin = pathlib.Path(importlib.util.find_spec(name).origin)
    tree, body = ast.parse(origin.read_text(encoding="utf8")), []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in replacements:
            continue
        body.append(node)
        targets = node.targets if isinstance(node, ast.Assign) else []
        for table in {t.id for t in targets if isinstance(t, ast.Name)} & set(rows):
            body += ast.parse(f"{table} = [*{table}, *_ROWS[{table!r}]]").body
    tree.body = body
    module = types.ModuleType(f"lifted.{name}")
    module.__dict__.update(replacements, _ROWS=rows, __file__=str(origin))
    sys.modules[module.__name__] = module
    exec(compile(tree, str(origin), "exec"), module.__dict__)
    return module


def lift_of_name(name):
    """Return a lifted factory of optax."""
    return jm.lift(getattr(optax.contrib, name, None) or getattr(alias, name))


def make_of_name(name):
    """Return one of our methods, or else a lifted factory of optax."""
    return METHODS[name].make if name in METHODS else lift_of_name(name)


def our_rows():
    for name, case in METHODS.items():
        yield {"opt_name": name, "opt_kwargs": {**case.hyperparameters, **case.static}}


def select(suite):
    """Yield the tests that are not left out."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from select(test)
        elif not {type(test).__name__, name_of(test)} & LEFT_OUT.keys():
            yield test


def name_of(test):
    """Return the name of a test in optax's source, without the number of its row."""
    return re.match("[a-z_]+", test.id().split(".", 4)[-1].rpartition("Test.")[2])[0]


def main(part, name, *words):
    warnings.simplefilter("ignore")
    if part == "alias":
        module = load(
            "optax._src.alias_test",
            {"_get_opt": lambda self, name: make_of_name(name)},
            {"_OPTIMIZERS_UNDER_TEST": list(our_rows())},
        )
    else:
        module = load("optax.contrib._common_test", {"_get_opt_factory": lift_of_name}, {})
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    chosen = [t for t in select(tests) if name_of(t) == name]
    chosen = [t for t in chosen if all(word in str(t) for word in words)]
    chosen = [t for t in chosen if not any(all(w in str(t) for w in row) for row in NO_ROWS)]
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=1).run(unittest.TestSuite(chosen))
    wrong = [str(test) for test, _ in (*result.failures, *result.errors)]
    print(json.dumps({"run": result.testsRun, "skipped": len(result.skipped), "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
