"""Value grids draw colors, an arrow for each of several equal actions, and divergence."""

import numpy as np
import pytest
from matplotlib.quiver import Quiver

from jaxmom.plot import CLIFF, LAKE, value_grid


def arrows(ax):
    quiver = next(child for child in ax.get_children() if isinstance(child, Quiver))
    return np.stack([quiver.U, quiver.V], axis=-1).round(3).tolist(), quiver.XY


def test_every_best_action_has_its_arrow():
    q = [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.5], [2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]]
    ax = value_grid(q, (2, 2), acted=[True, True, True, False])
    directions, places = arrows(ax)
    assert directions == [[-0.3, 0.0], [0.3, 0.0], [0.0, -0.3], [-0.3, 0.0]]
    cells = (np.floor(places) @ [1, 2]).tolist()
    assert cells == [0, 0, 1, 2]
    colors = ax.collections[0].get_array()
    assert colors.ravel()[:3].tolist() == [1.0, 0.5, 2.0]
    assert np.ma.getmaskarray(colors).ravel().tolist() == [False, False, False, True]
    assert ax.get_ylim() == (2, 0)


def test_the_moves_are_gymnasium_s():
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is the extra jaxmom[rl]")
    for name, kwargs, moves, columns in (
        ("FrozenLake-v1", {"is_slippery": False}, LAKE, 4),
        ("CliffWalking-v1", {}, CLIFF, 12),
    ):
        table = gymnasium.make(name, **kwargs).unwrapped.P
        middle = columns + 2
        for action, (right, down) in enumerate(moves):
            assert table[middle][action][0][1] == middle + right + columns * down


def test_values_that_diverged_are_marked():
    ax = value_grid([[1.0] * 4, [np.inf] + [0.0] * 3], (1, 2))
    assert "diverged" in ax.get_legend_handles_labels()[1]
    assert [text.get_text() for text in ax.texts] == ["1"]


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"2 x 2 cells and 4 moves need \(4, 4\)"):
        value_grid(np.zeros((3, 4)), (2, 2))


@pytest.mark.parametrize(
    ("limits", "extend"), [((None, None), "neither"), ((1.5, None), "min"), ((1.5, 1.8), "both")]
)
def test_the_color_bar_points_to_values_beyond_the_limits(limits, extend):
    ax = value_grid([[1.0] * 4, [2.0] * 4], (1, 2), limits=limits)
    assert ax.collections[0].colorbar.extend == extend
