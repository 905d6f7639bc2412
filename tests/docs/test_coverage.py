"""Every public name has an entry in the reference, and every method and experiment a page."""

import importlib
import pathlib
import re
import sys

import pytest

import jaxmom as jm

DOCS = pathlib.Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import gallery_pages  # noqa: E402  (a folder of Sphinx extensions, and no package)

MODULES = ["jaxmom", "jaxmom.plot", "jaxmom.problems", "jaxmom.rl", "jaxmom.schedules"]
MODULES += ["jaxmom.theory", "jaxmom.conversions"]
# Sub-packages have a page, whose title is not their name.
PACKAGES = {"coefficients", "conversions", "plot", "problems", "rl", "schedules", "theory"}


def read_entries():
    """Module -> the names that have an entry in a page of the reference."""
    entries = {}
    for page in sorted((DOCS / "api").glob("*.md")):
        blocks = re.findall(r"^```\{api\} ([\w.]+)\n(.*?)^```", page.read_text("utf8"), re.S | re.M)
        for module, lines in blocks:
            names = [line.partition("=")[0].strip() for line in lines.splitlines()]
            entries.setdefault(module, []).extend(names)
    return entries


def list_public(module):
    """The public names of a module that are not methods, which have pages of their own."""
    loaded = importlib.import_module(module)
    names = set(getattr(loaded, "__all__", ()))
    if module == "jaxmom.conversions":
        names = {n for n in vars(loaded) if re.match(r"(from|to)_", n)}
    if module == "jaxmom":
        names -= PACKAGES | set(jm.methods.__all__)
    return names


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_one_entry(module):
    entries = read_entries()[module]
    elsewhere = {"jaxmom": ("jaxmom.rl",)}.get(module, ())
    shown = set(entries).union(*(read_entries().get(other, ()) for other in elsewhere))
    missing = list_public(module) - shown
    assert not missing, f"docs/api has no entry of {module}.{', '.join(sorted(missing))}"
    stale = set(entries) - list_public(module)
    assert not stale, f"docs/api has entries of what {module} does not export: {sorted(stale)}"
    assert len(entries) == len(set(entries))


def test_the_reference_has_no_other_modules():
    assert set(read_entries()) <= set(MODULES)


def test_every_method_has_a_row_from_which_its_page_is_made():
    from cases import METHODS

    assert set(jm.methods.__all__) <= set(METHODS)
    assert set(jm.coefficients.__all__) <= set(jm.methods.__all__)


def test_every_experiment_has_a_question_an_answer_and_a_picture():
    files = sorted((DOCS.parent / "experiments").glob("*.py"))
    files = [file for file in files if file.stem not in gallery_pages.NOT_EXPERIMENTS]
    for file in files:
        question, _, answer = gallery_pages.read_docstring(file)
        assert question.endswith(("?", "differ.", "by pair from their code.")), question
        assert answer
        for kept in (f"{file.stem}.png", f"{file.stem}.json"):
            assert (DOCS / "gallery" / kept).exists(), (
                f"docs/gallery/{kept} is missing: python docs/make_gallery.py {file.stem}"
            )
    pictures = {path.stem for path in (DOCS / "gallery").glob("*.json")}
    assert pictures == {file.stem for file in files}
