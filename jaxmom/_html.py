"""HTML tables, as notebooks show them."""

import html
from collections.abc import Iterable, Sequence


def as_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of strings as a table.

    Example:
      >>> as_table([("beta", "< 1")])
      '<table><tr><td>beta</td><td>&lt; 1</td></tr></table>'
    """
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
