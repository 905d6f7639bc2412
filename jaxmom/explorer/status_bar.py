"""The bar on every view that counts lanes and cells by their outcome, as HTML."""

from collections.abc import Mapping

# Outcome -> the CSS of its color and stripes, as they are on maps.
_FILLS = {
    "ok": "#21918c",
    "some seeds diverged": "repeating-linear-gradient(45deg, #21918c 0 3px, #ffffff 3px 5px)",
    "diverged": "repeating-linear-gradient(-45deg, #b5b5b5 0 4px, #707070 4px 5px)",
    "failed": "repeating-linear-gradient(0deg, #f3c9b5 0 4px, #d55e00 4px 5px)",
    "missing": "radial-gradient(#9a9a9a 1px, #ffffff 1px) 0 0 / 5px 5px",
}


def write_status(
    lanes: Mapping[str, int], cells: Mapping[str, int], selected: int | None, note: str = ""
) -> str:
    """Return the HTML of the bar of outcomes.

    Args:
      lanes: Outcome -> number of lanes of the sweep.
      cells: Outcome -> number of cells that are shown.
      selected: The number of selected cells, or None if there is no selection.
      note: What else to say.

    Example:
      >>> "3 diverged" in write_status({"ok": 7, "diverged": 3}, {"ok": 10}, None)
      True
    """
    total, shown = sum(lanes.values()), sum(cells.values())
    parts = "".join(
        f'<div style="width:{100 * count / max(1, total):.4g}%; background:{_FILLS[name]}"></div>'
        for name, count in lanes.items()
        if count
    )
    bar = (
        f'<div style="display:flex; height:14px; border:1px solid #888; margin:3px 0">{parts}</div>'
    )
    chosen = "" if selected is None else f" · <b>{selected:,} selected</b>"
    lines = f"{total:,} lanes: {_list(lanes)} · {shown:,} cells shown: {_list(cells)}{chosen}"
    return f'<div style="font-size:13px">{lines}{bar}{note}</div>'


def _list(counts: Mapping[str, int]) -> str:
    """Return the counts that are not zero, each with a swatch."""
    swatch = "display:inline-block; width:11px; height:11px; border:1px solid #888; margin:0 3px"
    return ", ".join(
        f'<span style="{swatch}; background:{_FILLS[name]}"></span>{count:,} {name}'
        for name, count in counts.items()
        if count
    )
