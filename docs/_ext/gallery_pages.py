"""The gallery: a page for each experiment, from its docstring and what `make_gallery.py` kept."""

import ast
import json
import pathlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests read docstrings by this module, without Sphinx
    from sphinx.application import Sphinx

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"
NOT_EXPERIMENTS = {"__init__", "command"}


def setup(app: "Sphinx") -> dict[str, bool]:
    """Write the pages when a build begins."""
    app.connect("builder-inited", lambda app: write_gallery(pathlib.Path(app.srcdir) / "gallery"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_gallery(folder: pathlib.Path) -> None:
    """Write a page for each experiment, and the cards of the index."""
    files = [f for f in sorted(EXPERIMENTS.glob("*.py")) if f.stem not in NOT_EXPERIMENTS]
    cards = ["::::{grid} 1 2 2 2", ":gutter: 3", ""]
    for file in files:
        question, story, answer = read_docstring(file)
        write_if_new(folder / f"{file.stem}.md", write_page(folder, file.stem, story, answer))
        cards += [f":::{{grid-item-card}} {question}", f":link: {file.stem}", ":link-type: doc"]
        if (folder / f"{file.stem}.png").exists():
            cards.append(f":img-bottom: {file.stem}.png")
        cards += [":::", ""]
    tree = ["```{toctree}", ":hidden:", "", *(f"{f.stem} <{f.stem}>" for f in files), "```", ""]
    write_if_new(folder / "cards.inc", "\n".join([*cards, "::::", "", *tree]))


def read_docstring(file: pathlib.Path) -> tuple[str, str, str]:
    """Return the question of an experiment, what it does, and its answer."""
    text = ast.get_docstring(ast.parse(file.read_text("utf8"))) or ""
    question, _, rest = text.partition("\n")
    story, found, answer = rest.partition("Answer:")
    if not found:
        raise ValueError(f"{file.name}: the docstring of an experiment has a line 'Answer: ...'")
    return escape(question), escape(story.strip()), escape(answer.strip())


def write_page(folder: pathlib.Path, name: str, story: str, answer: str) -> str:
    """Return the page of one experiment."""
    question = read_docstring(EXPERIMENTS / f"{name}.py")[0]
    answer = answer[:1].upper() + answer[1:]
    parts = [f"# {question}", story, f"**Answer.** {answer}"]
    if (folder / f"{name}.png").exists():
        parts.append(f"![The figure of {name}]({name}.png)")
    parts.append(f"```sh\npython -m experiments.{name}\n```")
    kept = folder / f"{name}.json"
    if kept.exists():
        facts = json.loads(kept.read_text("utf8"))
        took = "It printed"
        if "seconds" in facts:
            took = f"It took {facts['seconds']:,} s on {facts['machine']}"
            took += f", beside {facts['load']} other processes" if facts.get("load") else ""
            took += ", and printed"
        parts.append(took)
        parts.append(f"```text\n{facts['printed'].strip()}\n```")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape what is a mark in Markdown and a sign of a formula in a docstring."""
    return re.sub(r"([*_<>\[\]$|~])", r"\\\1", text)


def write_if_new(path: pathlib.Path, text: str) -> None:
    """Write a file unless it has this text: Sphinx reads again what is newer."""
    if not path.exists() or path.read_text("utf8") != text:
        path.write_text(text, "utf8")
