"""The reference: signatures as they are written, and one directive for a list of names.

    ```{api} jaxmom
    chain
    LIMIT = what a constant is, which has no docstring
    ```

shows a table of the names with their summaries, then the docstring of each.
"""

import ast
import enum
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the two hooks of autodoc."""
    app.add_directive("api", Api)
    app.connect("autodoc-process-signature", use_written_signature)
    app.connect("autodoc-process-docstring", mend_docstring)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("missing-reference", find_elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Api(SphinxDirective):
    """A table of the names of a module, then their docstrings."""

    required_arguments = 1
    has_content = True
    option_spec = {}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Write the directives of autosummary and autodoc for the names."""
        module, entries = self.arguments[0], read_entries(self.content)
        lines = [f".. currentmodule:: {module}", ""]
        if len(entries) > 1:
            lines += [".. autosummary::", "   :nosignatures:", ""]
            lines += [f"   {name}" for name, text in entries.items() if not text]
        for name, text in entries.items():
            lines += ["", *(describe_constant(name, text) if text else describe(module, name))]
        text = "\n".join(["```{eval-rst}", *lines, "```"])
        return self.parse_text_to_nodes(text)


def read_entries(lines: Iterable[str]) -> dict[str, str]:
    """Return name -> what the page says of it, empty where its docstring does."""
    parts = (line.partition("=") for line in lines if line.strip())
    return {name.strip(): text.strip() for name, _, text in parts}


def describe_constant(name: str, text: str) -> list[str]:
    """Return the lines that document a constant, whose value has no docstring of its own."""
    return [f".. py:data:: {name}", "", f"   {text}"]


def describe(module: str, name: str) -> list[str]:
    """Return the lines that document one name by what it is."""
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        is_error = issubclass(thing, BaseException)
        lines = [f".. {'autoexception' if is_error else 'autoclass'}:: {name}"]
        return lines if is_error or issubclass(thing, enum.Enum) else [*lines, "   :members:"]
    if not inspect.isroutine(thing):
        raise ValueError(f"{module}.{name} is a constant: say what it is, as in `{name} = text`.")
    return [f".. autofunction:: {name}"]


def use_written_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Show annotations as the source has them (`ScalarOrSchedule`), not what they stand for."""
    del app, name, options
    function = thing.__init__ if what == "class" else thing
    if what not in {"function", "method", "class"} or not inspect.isfunction(function):
        return None
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError, TypeError):  # made by a decorator such as dataclass
        return None
    if not isinstance(node, ast.FunctionDef):
        return None
    arguments = node.args
    first = (arguments.posonlyargs + arguments.args)[:1]
    if what != "function" and first and first[0].arg in ("self", "cls"):
        (arguments.posonlyargs or arguments.args).pop(0)
    return f"({ast.unparse(arguments)})", ast.unparse(node.returns) if node.returns else returned


def mend_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Make reStructuredText of what reads well in a terminal: `verify`s, and |x| for a norm."""
    del app, what, name, thing, options
    blocks: list[tuple[bool, list[str]]] = [(False, [])]  # (is it a table?, its lines)
    for at, line in enumerate(lines):
        in_table = blocks[-1][0] and (not line.strip() or line.startswith(" "))
        starts = bool(re.match(r" +\S.*\S {2,}\S", line)) and not (at and lines[at - 1].strip())
        if starts and not in_table:
            blocks += [(True, ["::", "", line])]
        elif in_table == blocks[-1][0]:
            blocks[-1][1].append(line)
        else:
            blocks += [(in_table, [line])]
    texts = ("\n".join(part) if is_table else escape_marks(part) for is_table, part in blocks)
    lines[:] = "\n".join(texts).split("\n")


def escape_marks(lines: list[str]) -> str:
    """Escape the bars of norms, the stars of optima, and letters right after a reference."""
    parts = re.split(r"(``.+?``|`[^`]+`)", "\n".join(lines), flags=re.S)
    parts[::2] = [part.replace("|", r"\|").replace("*", r"\*") for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]
    return "".join(parts)


def skip_fields(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of named tuples, which the section Attributes has."""
    del app, what, name, skip, options
    return True if (inspect.getdoc(thing) or "").startswith("Alias for field") else None


@functools.cache
def index_last_names(known: frozenset[str]) -> dict[str, list[str]]:
    """Return last part of a dotted name -> the dotted names that end so."""
    index: dict[str, list[str]] = {}
    for name in sorted(known):
        index.setdefault(name.rpartition(".")[2], []).append(name)
    return index


def find_elsewhere(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Resolve `theory.kernel`, `jm.heavy_ball`, or a name that only one module has."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"].removeprefix("jm.")
    known = frozenset(domain.objects)
    found = [name for name in (f"jaxmom.{target}", target) if name in known]
    found = found or ([] if "." in target else index_last_names(known).get(target, []))
    if len(found) != 1:
        return None
    node = node.copy()
    node["refspecific"] = False
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, content)
