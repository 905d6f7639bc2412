"""The import rules of the house, read off the source, and what `import jaxmom` may load."""

import ast
import importlib
import importlib.metadata
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys
import types

import pytest

import jaxmom

ROOT = pathlib.Path(jaxmom.__file__).parent
EXPERIMENTS = ROOT.parent / "experiments"

# Folder or module -> what of ours it may import. The most specific row holds; a folder stands for
# all that is in it, and modules of one folder may import each other (without cycles).
MAY_IMPORT = {
    "_code_names": set(),
    "_captures": {"_code_names"},
    "_version": set(),
    "_html": set(),
    "_describe": {"_html"},
    "_values": {"_captures"},
    "_states": {"_values"},
    "_frame": {"_captures", "_describe", "_states", "_values"},
    "transform": {"_frame", "_states", "_values"},
    "schedules": {"_captures", "_values"},
    "filters": {"_captures", "_values"},
    "_fit_kernel": {"_values", "filters"},
    "_rescale": {"transform"},
    "conversions": {"filters"},
    "_jaxpr": set(),
    "_outcomes": set(),
    "_choices": set(),
    "combine": {"transform", "_jaxpr"},
    "_arguments": {"_captures", "transform"},
    "_trees": {"_values"},
    "_averages": {"filters", "transform"},
    "_cautious": {"transform", "_trees"},
    "_hypergradient": {"_jaxpr", "_trees", "_values", "filters", "transform"},
    "_outer": {"filters", "transform"},
    "_partition": {"_arguments", "transform"},
    "_per_part": {"_arguments", "_partition", "_values", "transform"},
    "_restart": {"_jaxpr", "_values", "filters", "transform", "_trees"},
    "_lift": {"_arguments", "_frame", "transform", "_jaxpr"},
    "_probe": {"filters", "_values"},
    "momentum": {"_captures", "_probe", "transform", "filters", "_values", "_per_part"},
    "coefficients": {"filters", "schedules"},
    "methods": {
        *["coefficients", "combine", "filters", "_lift", "momentum"],
        *["_partition", "_per_part", "_trees", "transform"],
    },
    "_trajectory": {"transform"},
    "_run_inputs": {"_trajectory", "transform"},
    "_optimize": {"_captures", "_run_inputs", "_trajectory", "transform"},
    "problems": set(),
    "_warn": set(),
    "sweeps.space": {"_html", "_warn"},
    "sweeps.compile": {"_code_names", "_jaxpr", "sweeps.space"},
    "sweeps.results": {"_jaxpr", "_outcomes", "sweeps.compile", "sweeps.space"},
    "sweeps.store": {"sweeps.results", "sweeps.compile", "sweeps.space"},
    "sweeps.run": {"sweeps.results", "sweeps.compile", "sweeps.space"},
    "sweeps": {
        *["_choices", "_outcomes", "_values", "sweeps.run", "sweeps.store", "sweeps.results"],
        *["sweeps.compile", "sweeps.space"],
    },
    "theory": {"_choices", "_values", "transform", "_jaxpr"},
    "theory._worst_case": {"_choices", "_values", "problems", "theory", "transform"},
    "rl._tabular": {"rl.mdp", "rl.losses", "rl.optimizers", "transform"},
    "rl._checks": {"transform"},
    "rl.losses": set(),
    "rl.mdp": {"rl._checks"},
    "rl.optimizers": {"rl._checks", "transform"},
    "rl._gymnasium": set(),
    "rl.environments": {"rl._checks", "rl._gymnasium", "rl.mdp"},
    "rl": {
        *["_choices", "rl._checks", "rl._tabular", "rl.environments", "rl.losses", "rl.mdp"],
        *["rl.optimizers", "transform"],
    },
    "plot._shared": {"_outcomes"},
    "plot": {"plot._shared", "_outcomes"},
    "explorer": {
        *["_optimize", "methods", "plot", "problems", "sweeps.compile", "sweeps.store", "theory"],
        "transform",
    },
    "cli": {"_version", "explorer", "sweeps"},
    "__main__": {"cli"},
}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def imports(path):
    """The modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            ours = node.module == "jaxmom" or (node.module or "").startswith("jaxmom.")
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if _is_module(n) else node.module for n in within] if ours else []
        else:
            continue
        yield from (n.removeprefix("jaxmom.") for n in names if n.startswith("jaxmom"))


def _is_module(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").exists()


def rule(name):
    """The most specific row that there is for a module."""
    while name not in MAY_IMPORT and "." in name:
        name = name.rpartition(".")[0]
    return name


def may_import(name, imported):
    allowed = MAY_IMPORT[rule(name)]
    within = any(imported == one or imported.startswith(f"{one}.") for one in allowed)
    return within or rule(imported) == rule(name)


def names_without_init():
    return {name.removesuffix(".__init__") for name, _ in modules()} - {"__init__"}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_keep_the_rules(name, path):
    if name == "__init__":
        return  # the face imports all
    if name.endswith(".__init__"):  # the face of a folder imports what is in it
        name = name.removesuffix(".__init__")
        wrong = {i for i in imports(path) if not (i.startswith(name) or may_import(name, i))}
    else:
        wrong = {i for i in imports(path) if i != name and not may_import(name, i)}
    assert not wrong, f"jaxmom.{name} may not import {sorted(wrong)}"


def test_no_row_of_the_rules_is_stale():
    names = names_without_init()
    for row, allowed in MAY_IMPORT.items():
        assert row in names, f"{row} is no module"
        below = {n for n in names if rule(n) == row}
        used = {i for n in below for path in [_path(n)] for i in imports(path)}
        unused = {a for a in allowed if not any(i == a or i.startswith(f"{a}.") for i in used)}
        assert not unused, f"nothing in jaxmom.{row} imports {sorted(unused)}"


def _path(name):
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_there_are_no_cycles():
    graph = {n: set(imports(_path(n))) for n in names_without_init() if not _is_folder(n)}

    def visit(name, above):
        assert name not in above, f"import cycle: {[*above, name]}"
        for imported in graph.get(name, ()):
            visit(imported, [*above, name])

    for name in graph:
        visit(name, [])


def _is_folder(name):
    return ROOT.joinpath(*name.split(".")).is_dir()


@pytest.mark.parametrize("name", sorted(names_without_init() - {"__main__"}))
def test_nothing_is_shadowed(name):
    path = f"jaxmom.{name}"
    module = importlib.import_module(path)
    at = jaxmom
    for part in name.split("."):
        at = getattr(at, part)
    parent, _, last = path.rpartition(".")
    scope = {}
    exec(f"import {path} as dotted\nfrom {parent} import {last} as member", scope)
    assert isinstance(module, types.ModuleType)
    assert at is scope["dotted"] is scope["member"] is module


def test_dir_lists_the_public_names_and_the_sub_packages():
    listed = set(dir(jaxmom))
    assert set(jaxmom.__all__) <= listed
    packages = {m.name for m in pkgutil.iter_modules(jaxmom.__path__) if m.ispkg}
    assert packages <= listed


def test_help_shows_the_papers_letters():
    signature = str(inspect.signature(jaxmom.heavy_ball))
    assert signature.startswith("(learning_rate: ")
    assert "beta: " in signature
    assert inspect.getdoc(jaxmom.heavy_ball).startswith("Polyak's heavy ball")


def test_experiments_import_only_the_public_face():
    paths = list(EXPERIMENTS.rglob("*.py"))
    assert paths
    for path in paths:
        source = path.read_text(encoding="utf8")
        private = set(imports(path)) - {"jaxmom"}
        assert not private, f"{path.name} imports {private}"
        assert "jm._" not in source


def test_nothing_imports_the_experiments():
    for _, path in modules():
        assert "experiments" not in "".join(imports(path))


def test_every_public_name_exists_and_is_documented():
    assert len(jaxmom.__all__) == len(set(jaxmom.__all__))
    for name in jaxmom.__all__:
        value = getattr(jaxmom, name)
        assert value.__doc__, f"jaxmom.{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        jaxmom.nonsense  # noqa: B018


def test_an_import_loads_no_heavy_package_and_starts_no_backend():
    """A backend that is started can no longer be configured, and does not survive a fork."""
    script = ROOT.parent / "tests" / "scripts" / "import_jaxmom.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_names_of_tests_have_at_most_70_letters():
    sources = (ROOT.parent / "tests").rglob("test_*.py")
    names = [name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text())]
    assert len(names) > 500
    assert not [name for name in names if len(name) > 70]


def test_the_version_is_the_package_version():
    assert importlib.metadata.version("jaxmom") == jaxmom.__version__


def test_it_ships_its_types():
    assert (ROOT / "py.typed").exists()
