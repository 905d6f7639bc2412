"""How a space prints: its lanes and axes, on one line or as a table."""

from typing import Any

from jaxmom._html import as_table
from jaxmom.sweeps.space.axes import Axis
from jaxmom.sweeps.space.components import Component, Concatenation, QuasiRandomSample
from jaxmom.sweeps.space.scales import Scale

_SHOWN = 4  # values of an axis, or spaces of a union


def describe(components: tuple[Component, ...]) -> str:
    """Return a product of components as it was made, as in "grid(beta=[0.0, 0.9])"."""
    return " * ".join(map(_describe_component, components))


def describe_as_table(components: tuple[Component, ...]) -> str:
    """Return an HTML table with a row for each component."""
    rows = [("dimension", "lanes", "values")]
    rows += [(part.dim, f"{part.size:,}", _describe_component(part)) for part in components]
    return as_table(rows)


def _describe_component(component: Component) -> str:
    if isinstance(component, Concatenation):
        shown = [describe(space.components) for space in component.spaces[:_SHOWN]]
        more = len(component.spaces) - len(shown)
        return f"({' + '.join(shown)}{f' + {more:,} more' if more else ''})"
    if isinstance(component, QuasiRandomSample):
        scales = [f"{name}={_describe_scale(scale)}" for name, scale in component.scales.items()]
        return f"sample({', '.join([f'{component.size:,}', *scales])})"
    maker = "paired" if component.paired else "grid"
    axes = (f"{axis.name}={_describe_axis(axis)}" for axis in component.axes)
    return f"{maker}({', '.join(axes)})"


def _describe_scale(scale: Scale | Axis) -> str:
    if isinstance(scale, Axis):
        return _describe_axis(scale)
    return f"{scale.kind}({scale.low:g}, {scale.high:g})"


def _describe_axis(axis: Axis) -> str:
    """Return the values of a short axis, and the ends of a long one."""
    labels = axis.labels
    if len(labels) <= _SHOWN:
        return str(labels.tolist())
    ends: list[Any] = [labels[0].item(), labels[-1].item()]
    return f"[{ends[0]!r}, ... {len(labels):,} values ..., {ends[1]!r}]"
