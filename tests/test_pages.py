"""The code blocks of the pages in docs: each is run, here or when the site is built."""

import ast
import doctest
import importlib.util
import operator
import pathlib
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripts import launch

import jaxmom as jm

DOCS = pathlib.Path(__file__).parents[1] / "docs"
# Written by the build: the loops of tests/cases, and what experiments printed.
GENERATED = {"methods": "index.md", "gallery": "index.md"}
PAGES = {
    str(path.relative_to(DOCS)): path.read_text("utf8")
    for path in sorted(DOCS.rglob("*.md"))
    if not {"_build", "jupyter_execute"} & set(path.parts)
    and GENERATED.get(path.parent.name, path.name) == path.name
}
FENCE = re.compile(r"^ *(`{3,})([^\n`]*)\n(.*?)^ *\1 *$", re.S | re.M)
# Languages that are not Python, and directives that hold no code of their own.
OTHERS = {"sh", "text", "toml", "yaml", "json", "html"}
# Pages that run as scripts, in a process of their own, smaller than they stand.
SCRIPTS = ("sweeps.md", "q_learning.md")


def is_executed(text):
    """Whether the cells of a page run when the site is built."""
    return text.startswith("---") and "file_format: mystnb" in text.split("---")[1]


def find_blocks(text):
    """The blocks of a page: language or directive -> the codes."""
    found = {}
    for _, language, code in FENCE.findall(text):
        found.setdefault(language.split(" ")[0], []).append(textwrap.dedent(code))
    return found


def find_needs(text):
    """The optional packages that the head of a page names: without them its prompts cannot run."""
    head = text.split("---")[1] if text.startswith("---") else ""
    return " ".join(re.findall(r"^needs: (.*)$", head, re.M)).split()


def has_prompt(code):
    return code.lstrip().startswith(">>>")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_run_somewhere(page):
    """A cell runs in the build, a prompt in a doctest, and a script in a process of its own."""
    blocks = find_blocks(PAGES[page])
    unknown = {x for x in blocks if not re.fullmatch(r"\{[\w:-]+\}|python", x)} - OTHERS
    assert not unknown, f"{page} has blocks of {unknown}, which nothing runs"
    assert "{code-cell}" not in blocks or is_executed(PAGES[page])
    scripts = [code for code in blocks.get("python", []) if not has_prompt(code)]
    runs_them = page in SCRIPTS or page == "adding_a_method.md"
    assert not scripts or runs_them, f"{page} has Python that nothing runs: {scripts[0]}"
    if page in IN_FLOAT32:
        assert f'"docs/{page}"' in (DOCS.parent / "tests" / "test_float32.py").read_text("utf8")
    for code in blocks.get("{code-cell}", []):
        ast.parse(re.sub(r"^:.*\n", "", code, flags=re.M))


SLOW = {f"recipes/{x}.md" for x in ("animation", "equinox", "logging", "orbax", "submitit")}
SLOW |= {f"coming_from/{x}.md" for x in ("hydra", "optuna", "pepit", "ray_tune", "wandb")}
IN_FLOAT32 = {"conversions.md"}  # tests/test_float32.py runs it


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW))
        for page, text in PAGES.items()
        if re.search(r"^>>> ", text, re.M) and page not in IN_FLOAT32
    ],
)
@pytest.mark.filterwarnings(r"ignore:os\.fork:RuntimeWarning")  # Ray forks, and then calls exec
def test_prompts_print_what_the_page_says(page):
    """With JAX's defaults, as a user's."""
    for package in find_needs(PAGES[page]):
        pytest.importorskip(package, reason=f"{package}, which the page is about, is not installed")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    code = "\n".join(filter(has_prompt, find_blocks(PAGES[page]).get("python", ())))
    examples = doctest.DocTestParser().get_doctest(code, {}, page, page, 0)
    report = []
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        found = runner.run(examples, out=report.append)
    assert found.attempted > 0
    assert found.failed == 0, "".join(report)


@pytest.mark.slow
@pytest.mark.parametrize("page", SCRIPTS)
def test_scripts_of_a_page_run(page, tmp_path):
    """In the order of the page, with fewer and shorter lanes."""
    running = launch.start("run_page", DOCS / page, cwd=tmp_path)
    printed = launch.output_of(running, timeout=600)
    assert re.search(r"ran \d+ blocks", printed)


def test_commands_of_the_pages_exist():
    """`python -m MODULE` names a module, and `pip install .[EXTRA]` an extra."""
    pyproject = (DOCS.parent / "pyproject.toml").read_text("utf8")
    for page, text in PAGES.items():
        for module in re.findall(r"python3? -m ((?:jaxmom|experiments)[\w.]*)", text):
            assert importlib.util.find_spec(module), f"{page}: there is no {module}"
        for extras in re.findall(r"(?:jaxmom|-e \"?\.)\[([\w,]+)\]", text):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", pyproject, re.M), f"{page}: no extra {extra}"


def test_tests_that_pages_name_exist():
    """The handbook says which test compares a formula with something else."""
    named = {x for text in PAGES.values() for x in re.findall(r"`([\w/]+\.py)::(\w+)`", text)}
    assert len(named) > 20
    for file, test in sorted(named):
        source = (DOCS.parent / "tests" / file).read_text("utf8")
        assert re.search(rf"^def {test}\(", source, re.M), f"{file} has no {test}"


def test_the_guide_to_adding_a_method_runs():
    blocks = find_blocks(PAGES["adding_a_method.md"])["python"]
    coefficients, method, row = {}, {}, {}
    for block, names in zip(blocks, (coefficients, method, row), strict=True):
        exec(block, names)

    made = coefficients["optimistic_gradient"](0.8)
    assert jax.tree.all(jax.tree.map(operator.eq, made, jm.coefficients.optimistic_gradient(0.8)))
    case = row["METHODS"]["optimistic_gradient"]
    optimizer = method["optimistic_gradient"](**case.hyperparameters)
    run = jm.optimize(lambda x: x**2 / 2, jnp.array(1.0), optimizer, 3, record="params")
    points = case.paper(lambda x, t: x, np.array(1.0), **case.hyperparameters)
    expected = [next(points)[0] for _ in range(4)]
    np.testing.assert_allclose(run.history["params"], expected, rtol=1e-14)
