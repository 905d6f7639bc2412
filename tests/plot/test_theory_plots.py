"""The plots of theory: stability maps, spectra and frequency responses."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, QuadMesh
from plot_cases import marks

from jaxmom import plot


def radius(betas, rates):
    """A wedge whose boundary is at 2 (1 + beta)."""
    beta, rate = np.linspace(0, 0.9, betas), np.linspace(0.1, 4, rates)
    values = np.maximum(np.sqrt(beta), np.abs(1 - rate[:, None] / (1 + beta)))
    dims = ("learning_rate", "beta")
    return xr.DataArray(values, {"learning_rate": rate, "beta": beta}, dims)


def test_the_map_shows_runs_and_the_boundary_of_theory():
    coarse, fine = radius(10, 9), radius(91, 81)
    measured = coarse.where(coarse < 1, np.inf)
    ax = plot.stability_map(measured, fine, x="beta", y="learning_rate", levels=(0.9,))
    mesh = next(child for child in ax.get_children() if isinstance(child, QuadMesh))
    shown = np.ma.filled(mesh.get_array().reshape(coarse.shape), np.inf)
    np.testing.assert_allclose(shown, measured)
    assert ax.get_legend_handles_labels()[1] == [
        "diverged", "theory: rates below 1", "theory: rate 1, the boundary",
    ]  # fmt: skip
    boundary = [c for c in ax.collections if np.allclose(c.get_linewidth(), 2.2)]
    points = np.concatenate([path.vertices for path in boundary[0].get_paths()])
    np.testing.assert_allclose(points[:, 1], 2 * (1 + points[:, 0]), atol=1e-3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("beta", "learning rate")


def test_the_map_without_a_boundary_names_none():
    ax = plot.stability_map(np.full((3, 3), 0.9), np.full((3, 3), 0.9))
    assert ax.get_legend_handles_labels()[1] == []


def test_the_spectrum_draws_every_eigenvalue_in_the_unit_circle():
    roots = np.array([[0.5, 0.2], [0.3 + 0.4j, 0.3 - 0.4j], [0.1 + 0.9j, 0.1 - 0.9j]])
    data = xr.DataArray(roots, {"beta": [0.1, 0.5, 0.9]}, ("beta", "root"))
    ax = plot.spectrum(data, scale="memory", title="a pair")
    drawn = next(c for c in ax.collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(drawn.get_offsets() @ [1, 1j], roots.ravel())
    np.testing.assert_allclose(drawn.get_array().ravel()[0::2], -np.log([0.9, 0.5, 0.1]))
    circle = ax.lines[0].get_xydata()
    np.testing.assert_allclose(np.hypot(*circle.T), 1.0)
    assert ax.figure.axes[1].get_ylabel() == "beta"
    with pytest.raises(ValueError, match="parameter"):
        plot.spectrum(roots, parameter=[1.0, 2.0])


def test_the_response_is_drawn_as_its_modulus():
    w = np.geomspace(0.01, np.pi, 20)
    response = 0.1 / (1 - 0.9 * np.exp(-1j * w))
    ax = plot.frequency({"average": response, "half": 0.5 * response}, frequencies=w)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.abs(response))
    np.testing.assert_allclose(ax.lines[1].get_xdata(), w)
    data = xr.DataArray(response, {"frequency": w}, ("frequency",))
    np.testing.assert_allclose(plot.frequency(data).lines[0].get_xdata(), w)
    with pytest.raises(ValueError, match="shape"):
        plot.frequency({"average": response}, frequencies=w[1:])


@pytest.mark.parametrize("far", [-4.0, 1.2j, 3 + 3j, 1e6 - 1j, 1.16], ids=lambda value: str(value))
def test_an_eigenvalue_outside_the_frame_is_a_square_on_its_edge(far):
    roots = np.array([[0.2, far], [0.1, 0.3]])
    ax = plot.spectrum(roots, parameter=[0.1, 0.2])
    inside, outside = (c for c in ax.collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(inside.get_offsets() @ [1, 1j], [0.2, 0.1, 0.3])
    (drawn,) = outside.get_offsets() @ [1, 1j]
    np.testing.assert_allclose(np.angle(drawn), np.angle(far))
    np.testing.assert_allclose(max(abs(drawn.real), abs(drawn.imag)), ax.get_xlim()[1])
    np.testing.assert_allclose(outside.get_array(), 0.1)
    expected = f"1 outside the frame, modulus up to {abs(far):.3g}"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [expected]


def test_a_spectrum_counts_every_eigenvalue():
    roots = np.array([[0.5, 1.15, 2.0], [np.nan, np.inf, -7.0]], complex)
    ax = plot.spectrum(roots)
    drawn = sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert drawn == 4
    assert texts == ["2 outside the frame, modulus up to 7", "2 not finite"]
    assert plot.spectrum(roots[:1, :2]).get_legend() is None


def test_the_ticks_of_a_spectrum_are_round_values_and_not_rounded_ones():
    betas = 1 - np.geomspace(1, 5e-4, 50)
    ax = plot.spectrum(np.zeros((50, 1)), parameter=betas, name="beta", scale="memory")
    bar = ax.figure.axes[1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "0.9", "0.99", "0.999"]
    np.testing.assert_allclose(bar.get_yticks(), -np.log([1, 0.1, 0.01, 0.001]), atol=1e-12)


def test_gains_of_zero_and_infinite_gains_are_seen():
    gains = {"notch": [1.0, 0.0, 0.5, 0.0], "pole": [np.inf, 1.0, 2.0, 4.0]}
    ax = plot.frequency(gains, frequencies=[0.1, 0.2, 0.3, 0.4])
    mark = marks(ax, "at or below the floor")
    np.testing.assert_allclose(mark.get_xydata(), [[0.2, 0.5], [0.4, 0.5]])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["notch", "pole (1 not finite)", "at or below the floor"]
