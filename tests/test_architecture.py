"""The import rules of the house, read off the source, and what `import jaxmom` may load."""

import ast
import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

import jaxmom

ROOT = pathlib.Path(jaxmom.__file__).parent
EXPERIMENTS = ROOT.parent / "experiments"

# Module -> what of ours it may import; a package stands for all that is in it.
MAY_IMPORT = {
    "transform": set(),
    "schedules": set(),
    "filters": set(),
    "combine": {"transform"},
    "lift": {"transform"},
    "momentum": {"transform", "filters"},
    "coefficients": {"filters", "schedules"},
    "methods": {"coefficients", "combine", "lift", "momentum", "transform"},
    "optimize": {"transform"},
    "problems": {"problems"},
    "plot.style": set(),
    "plot": {"plot"},
    "sweep.space": {"sweep.axes", "sweep.factors", "sweep.sampling", "sweep.scales"},
    "sweep.axes": {"sweep.scales"},
    "sweep.factors": {"sweep.axes", "sweep.sampling", "sweep.scales"},
    "sweep.sampling": {"sweep.axes", "sweep.scales"},
    "sweep.scales": set(),
    "sweep.store": set(),
    "sweep": {"sweep"},
    "rl.mdp": set(),
    "rl": {"rl", "transform"},
    "theory.linear_system": set(),
    "theory.linearity": set(),
    "theory.td": set(),
    "theory": {"theory", "transform"},
    "cli": {"sweep"},
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
    """The most special rule that there is for a module."""
    while name not in MAY_IMPORT and "." in name:
        name = name.rpartition(".")[0]
    return MAY_IMPORT[name]


def admitted(imported, allowed):
    return any(imported == one or imported.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value)[-30:])
def test_imports_keep_the_rules(name, path):
    if name == "__init__":
        return  # the face imports all
    name = name.removesuffix(".__init__")
    wrong = {i for i in imports(path) if i != name and not admitted(i, rule(name))}
    assert not wrong, f"jaxmom.{name} may not import {sorted(wrong)}"


def test_there_are_no_cycles():
    graph = {
        name.removesuffix(".__init__"): set(imports(path))
        for name, path in modules()
        if name != "__init__"
    }

    def visit(name, above):
        assert name not in above, f"import cycle: {[*above, name]}"
        for imported in graph.get(name, ()):
            if imported != name and name not in _packages(graph):
                visit(imported, [*above, name])

    for name in graph:
        visit(name, [])


def _packages(graph):
    return {name for name in graph if (ROOT / pathlib.Path(*name.split("."))).is_dir()}


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


def test_heavy_packages_are_loaded_on_first_use():
    heavy = (
        "matplotlib",
        "xarray",
        "pandas",
        "tqdm",
        "sklearn",
        "scipy.stats",
        "cvxpy",
        "distributed",
    )
    code = (
        "import sys, jax, optax; before = set(sys.modules); import jaxmom;"
        f"print([m for m in {heavy} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_package_version():
    assert importlib.metadata.version("jaxmom") == jaxmom.__version__


def test_it_ships_its_types():
    assert (ROOT / "py.typed").exists()
