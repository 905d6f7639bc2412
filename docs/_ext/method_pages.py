"""One page for each method of the catalogue, and the table of all, written before a build.

A page is made of docstrings, of the method's row in `tests/cases`, and of what theory says of it at
the hyperparameters of that row. The pages are written again when any of these changes.
"""

import inspect
import pathlib
import re
from typing import Any

import numpy as np
from gallery_pages import escape
from method_facts import Facts, collect_facts
from method_pictures import draw_picture
from peers import PEERS
from source_digest import digest_sources
from sphinx.application import Sphinx
from typeset import typeset, typeset_prose

import jaxmom as jm

FAMILIES = {
    "basic": "Gradient descent and classical momentum",
    "accelerated": "Accelerated methods",
    "optimized": "Methods with optimal worst cases",
    "averaging": "Averages of iterates",
    "stochastic": "For noisy gradients",
    "aggregated": "Several buffers",
    "scheduled": "Memories that change",
    "sign": "Signs",
    "norm": "Norms",
    "polar": "Polar factors",
    "adam": "Second moments",
    "differences": "Differences of gradients",
    "games": "For games",
    "polyak": "Polyak's step",
    "adaptive": "Adaptive",
}
SECTIONS = "Args|Returns|Raises|Source|Example|Attributes"
COEFFICIENTS = ("decay", "gain", "read", "read_new", "direct")
SHOWN_STEPS = (0, 1, 10, 100)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages when a build begins."""
    app.connect("builder-inited", lambda app: write_pages(pathlib.Path(app.srcdir) / "methods"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: pathlib.Path) -> None:
    """Write the pages and their pictures, unless those of the same sources are there."""
    digest = digest_sources("tests/cases", "docs/_ext")
    mark = folder / ".digest"
    if mark.exists() and mark.read_text() == digest:
        return
    import matplotlib.pyplot

    matplotlib.use("Agg")
    mark.unlink(missing_ok=True)
    for old in [*folder.glob("*.png"), *folder.glob("*.md"), *folder.glob("*.inc")]:
        if old.name != "index.md":
            old.unlink()
    methods = collect_facts()
    for name, facts in methods.items():
        has_picture = draw_picture(facts, folder / f"{name}.png")
        (folder / f"{name}.md").write_text(write_page(facts, has_picture), "utf8")
    (folder / "table.inc").write_text(write_table(methods), "utf8")
    mark.write_text(digest)


def write_page(facts: Facts, has_picture: bool) -> str:
    """Return the page of one method."""
    method, filtered = (getattr(m, facts.name, None) for m in (jm.methods, jm.coefficients))
    parts = [f"# {facts.name}", read_lead(method)]
    if filtered is not None:
        parts += ["## As the source writes it", read_lead(filtered)]
    source = read_section(filtered, "Source") or read_section(method, "Source")
    parts += [f"**Source.** {source}"] if source else []
    parts += ["## In numbers", f"At {write_settings(facts)}, the row of the tests:"]
    parts += [write_coefficients(facts), write_numbers(facts)]
    if has_picture:
        parts.append(f"![The filter of {facts.name} in numbers]({facts.name}.png)")
    if facts.name in PEERS:
        parts += ["## In other libraries", write_peers(facts.name)]
    parts += ["## The loop that the tests compare it with", write_loop(facts)]
    parts += ["## Reference", f"```{{api}} jaxmom\n{facts.name}\n```"]
    if filtered is not None:
        parts.append(f"```{{api}} jaxmom.coefficients\n{facts.name}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def read_lead(thing: Any) -> str:
    """Return what a docstring says before its sections, with its formulas typeset."""
    return typeset_prose(re.split(rf"\n(?:{SECTIONS}):", inspect.getdoc(thing) or "")[0])


def read_section(thing: Any, name: str) -> str:
    """Return the text of one section of a docstring on one line, or nothing."""
    found = re.search(rf"\n{name}:\n(.*?)(?=\n\w+:|\Z)", inspect.getdoc(thing) or "", re.S)
    text = " ".join(found[1].split()) if found else ""
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def write_settings(facts: Facts) -> str:
    """Return the hyperparameters of the row, as a call has them."""
    settings = {**facts.case.hyperparameters, **facts.case.static}
    return ", ".join(f"`{name}={value!r}`" for name, value in settings.items())


def write_coefficients(facts: Facts) -> str:
    """Return the table of the filter's coefficients, at some steps where they vary."""
    if facts.filters is None:
        return ""
    varies = len(facts.filters) > 1
    first = {n: getattr(facts.filters[0], n) for n in COEFFICIENTS}
    names = [name for name, value in first.items() if value is not None and np.size(value)]
    lines = [f"| {'step | ' * varies}{' | '.join(names)} |", f"|{'---|' * (len(names) + varies)}"]
    for step in SHOWN_STEPS if varies else (0,):
        cells = [write_vector(getattr(facts.filters[step], name)) for name in names]
        lines.append(f"| {f'{step} | ' * varies}{' | '.join(cells)} |")
    return "\n".join(lines)


def write_vector(numbers: Any) -> str:
    """Return numbers with four digits."""
    return ", ".join(f"{number:.4g}" for number in np.atleast_1d(np.asarray(numbers)))


def write_numbers(facts: Facts) -> str:
    """Return what theory says in a table, or the sentence with which it refuses."""
    if facts.system is None:
        return f"`jaxmom.theory.linearize` refuses it: {escape(facts.refusal)}"
    limit = float(facts.numbers["stability limit"])
    rows = {
        "effective learning rate": "the step in a steady gradient, per gradient",
        "memory": "steps: one more than the mean age of the gradients in a step",
        "half-life": "steps",
        "stability limit": "the largest stable curvature",
        "noise floor": f"variance in the long run at the curvature {limit / 10:.4g}, a tenth of "
        "the limit, for noise of variance 1",
    }
    lines = [f"| {name} | {float(facts.numbers[name]):.4g} | {rows[name]} |" for name in rows]
    return "\n".join(["| | | |", "|---|---|---|", *lines])


def write_peers(name: str) -> str:
    """Return the same method in other libraries."""
    lines = [f"| {p.library} | `{p.code}` | {p.note} |" for p in PEERS[name]]
    return "\n".join(["| library | code | |", "|---|---|---|", *lines])


def write_loop(facts: Facts) -> str:
    """Return the paper's own recurrence, as the tests have it, after the loops that it calls."""
    loop = facts.case.paper
    called = [loop.__globals__.get(name) for name in loop.__code__.co_names]
    helpers = [f for f in called if inspect.isfunction(f) and f.__module__ == loop.__module__]
    sources = [inspect.getsource(f).rstrip() for f in [*helpers, loop]]
    return "\n".join(["```python", "\n\n\n".join(sources), "```"])


def write_table(methods: dict[str, Facts]) -> str:
    """Return the table of all methods, by family."""
    lines = [
        "| method | what it is | linear | buffers | memory | stable up to | noise floor |",
        "|---|---|---|---|---|---|---|",
    ]
    unnamed = {facts.family for facts in methods.values()} - set(FAMILIES)
    for family in [*FAMILIES, *sorted(unnamed)]:
        members = [facts for facts in methods.values() if facts.family == family]
        if members:
            lines.append(f"| **{FAMILIES.get(family, family)}** | | | | | | |")
        lines += [write_row(facts) for facts in members]
    return "\n".join(lines) + "\n"


def write_row(facts: Facts) -> str:
    """Return the row of one method in the table of all."""
    summary = (inspect.getdoc(getattr(jm.methods, facts.name)) or "").split("\n")[0]
    summary = re.sub(r"[:,]? *``[^`]*(?:;|<-)[^`]*``", "", summary)  # its page has the recurrence
    summary = re.sub(r"``(.+?)``", lambda match: f"${typeset(match[1])}$", summary)
    summary = typeset_prose(summary).rstrip(".:, ")
    kind = "yes" if facts.system is not None else "no"
    if facts.system is None and facts.filters is not None:
        kind = "varies" if "varies with time" in facts.refusal else "its filter is"
    buffers = "" if facts.filters is None else str(np.size(facts.filters[0].decay))
    numbers = [facts.numbers.get(n) for n in ("memory", "stability limit", "noise floor")]
    cells = ["" if number is None else f"{float(number):.4g}" for number in numbers]
    cells = [f"[{facts.name}]({facts.name}.md)", summary, kind, buffers, *cells]
    return f"| {' | '.join(cells)} |"
