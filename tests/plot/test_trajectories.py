"""Trajectories draw paths, their ends, and the contours beneath them."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from plot_cases import PLOTS, bowl, descent, legend, line, spoiled

import jaxmom as jm
from jaxmom import plot
from jaxmom.plot._shared import surface


def test_a_path_is_drawn_whole_with_its_ends_marked():
    paths = PLOTS["trajectories"].data
    ax = plot.trajectories({"ball": paths["heavy ball"]}, loss=bowl, extent=(-2.5, 2.5, -2.5, 2.5))
    np.testing.assert_array_equal(line(ax, "ball"), paths["heavy ball"])
    np.testing.assert_array_equal(line(ax, "_start"), [[2.0, 2.0]])
    np.testing.assert_allclose(line(ax, "_end"), [[0.16401923, -0.40114981]], rtol=1e-6)
    assert legend(ax) == ["ball", "start", "end"]
    np.testing.assert_array_equal([*ax.get_xlim(), *ax.get_ylim()], [-2.5, 2.5, -2.5, 2.5])


def test_paths_of_a_sweep_may_have_labels():
    path = xarray.DataArray(descent(0.1, 0.9), dims=("step", "params_0"), name="params")
    ax = plot.trajectories({"ball": path})
    np.testing.assert_array_equal(line(ax, "ball"), path)


def test_arrowheads_lie_on_the_path_and_point_along_it():
    path = descent(0.1, 0.9)
    ax = plot.trajectories({"ball": path})
    middles = (path[1:] + path[:-1]) / 2
    assert len(ax.texts) == 3
    for arrow in ax.texts:
        (step,) = np.flatnonzero((middles == arrow.xy).all(axis=1))
        np.testing.assert_array_equal(arrow.xyann, path[step])


def test_contours_are_as_many_as_asked_for_and_logarithmic():
    ax = plot.trajectories({"a": descent(0.1, 0)}, loss=bowl, extent=(-2, 2, -2, 2), levels=12)
    contours = [c for c in ax.collections if not getattr(c, "filled", True)]
    assert len(contours) == 1
    (levels,) = (c.levels for c in contours)
    ratios = np.diff(np.log(levels - bowl(*np.meshgrid(*[np.linspace(-2, 2, 200)] * 2)).min()))
    assert len(levels) == 12
    np.testing.assert_allclose(ratios, ratios[0])


def test_values_of_the_loss_may_be_given_instead_of_a_function():
    x, y = np.linspace(-2, 2, 200), np.linspace(-1, 5, 200)
    values = bowl(*np.meshgrid(x, y))
    labeled = xarray.DataArray(values, {"b": y, "a": x}, ("b", "a"))
    drawn = [
        plot.trajectories({"a": descent(0.1, 0)}, loss=loss, extent=extent)
        for loss, extent in ((bowl, (-2, 2, -1, 5)), (values, (-2, 2, -1, 5)), (labeled, None))
    ]
    reference, *others = ([p.vertices for p in ax.collections[1].get_paths()] for ax in drawn)
    assert sum(map(len, reference)) > 100
    for other in others:
        np.testing.assert_allclose(np.concatenate(other), np.concatenate(reference))
    assert (drawn[2].get_xlim(), drawn[2].get_ylim()) == ((-2, 2), (-1, 5))


def test_a_path_that_leaves_the_frame_is_marked_on_the_boundary():
    path = [[0.0, 0.0], [0.5, 0.0], [1.5, 0.5]]
    ax = plot.trajectories({"a": path}, extent=(-1, 1, -1, 1))
    np.testing.assert_allclose(line(ax, "_leaves the frame"), [[1.0, 0.25]])
    assert legend(ax) == ["a (ends outside the frame)", "start", "leaves the frame"]
    assert ax.get_xlim() == (-1, 1)


@pytest.mark.parametrize(
    ("beyond", "marker"), [((2, 0), ">"), ((-2, 0), "<"), ((0, 2), "^"), ((0, -2), "v")]
)
def test_the_mark_of_leaving_points_outward(beyond, marker):
    ax = plot.trajectories({"a": [[0.0, 0.0], beyond]}, extent=(-1, 1, -1, 1))
    (mark,) = (found for found in ax.lines if found.get_label() == "_leaves the frame")
    assert mark.get_marker() == marker
    np.testing.assert_array_equal(mark.get_xydata(), [np.array(beyond) / 2])


def test_a_path_that_comes_back_has_both_marks():
    ax = plot.trajectories({"a": [[0, 0], [2, 0], [0.5, 0.5]]}, extent=(-1, 1, -1, 1))
    np.testing.assert_array_equal(line(ax, "_leaves the frame"), [[1, 0]])
    np.testing.assert_array_equal(line(ax, "_end"), [[0.5, 0.5]])
    assert "a" in legend(ax)
    twice = plot.trajectories({"a": [[0, 0], [2, 0], [0.5, 0], [0.5, 2]]}, extent=(-1, 1, -1, 1))
    np.testing.assert_array_equal(line(twice, "_leaves the frame"), [[0.5, 1]])


def test_a_path_stops_where_it_turns_non_finite():
    path = spoiled(descent(0.1, 0.9), slice(9, None))
    ax = plot.trajectories({"a": path})
    np.testing.assert_array_equal(line(ax, "a (diverged at step 9)"), path[:9])
    np.testing.assert_array_equal(line(ax, "_diverged"), path[8:9])
    assert "end" not in legend(ax)


def test_a_path_that_diverges_outside_has_its_cross_on_the_boundary():
    ax = plot.trajectories({"a": descent(0.9, 0.0, steps=600)}, extent=(-2.5, 2.5, -2.5, 2.5))
    ((x, y),) = line(ax, "_diverged")
    assert x == -2.5
    assert 0 < y < 2
    assert "leaves the frame" not in legend(ax)


def test_a_frozen_path_is_drawn_up_to_where_it_diverged():
    path = descent(0.1, 0.9)
    frozen = np.where(np.arange(31)[:, None] > 4, path[4], path)
    ax = plot.trajectories({"a": frozen, "b": path}, diverged_at={"a": 4})
    np.testing.assert_array_equal(line(ax, "a (diverged at step 4)"), path[:5])
    np.testing.assert_array_equal(line(ax, "_diverged"), path[4:5])
    np.testing.assert_array_equal(line(ax, "_end"), path[-1:])


def test_the_dims_of_labeled_paths_become_labels():
    paths = np.stack([[descent(0.1, beta), descent(0.05, beta)] for beta in (0.0, 0.9)])
    data = xarray.DataArray(
        paths,
        {
            "beta": [0.0, 0.9],
            "method": ["x", "y"],
            "status": (("beta", "method"), [[1, 1], [1, 0]]),
        },
        ("beta", "method", "step", "coordinate"),
    ).transpose("coordinate", "beta", "step", "method")
    ax = plot.trajectories(data, names=("u", "v"))
    np.testing.assert_array_equal(line(ax, "beta = 0.9, x"), descent(0.1, 0.9))
    assert len(line(ax, "beta = 0.9, y (missing)")) == 0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u", "v")


def test_a_path_that_diverged_does_not_set_the_frame():
    ax = plot.trajectories({"a": descent(0.1, 0), "b": descent(0.9, 0, steps=600)})
    assert ax.get_xlim()[1] < 3
    alone = plot.trajectories({"b": descent(0.9, 0, steps=600)})
    assert alone.get_xlim()[0] < -5.2
    assert alone.get_xlim()[1] < 50


PLANES = {
    "rosenbrock": jm.problems.rosenbrock(),
    "himmelblau": jm.problems.himmelblau(),
    "beale": jm.problems.beale(),
    "narrow valley": jm.problems.narrow_valley(),
    "tutorial quadratic": jm.problems.tutorial_quadratic(),
    "rotated quadratic": jm.problems.quadratic([1.0, 9.0], rotation_key=jax.random.key(0)),
}
LOSSES_OF_A_POINT = {name: problem.loss for name, problem in PLANES.items()} | {
    "jitted": jax.jit(PLANES["beale"].loss),
    "NumPy": lambda point: float(np.sum(np.asarray(point) ** 2)),
    "with an option": lambda point, scale=2.0: scale * (point[0] ** 2 + point[1] ** 4),
    "noisy, in the mean": jm.problems.quadratic([1.0, 4.0], noise=1.0).full_loss,
}


@pytest.mark.parametrize("name", LOSSES_OF_A_POINT)
def test_the_loss_may_be_a_function_of_one_point(name):
    loss = LOSSES_OF_A_POINT[name]
    box = np.array([[-1.0, 0.5], [2.0, 3.0]])
    x, y, values = surface.evaluate_loss(loss, box)
    for row, column in ((0, 0), (199, 3), (80, 121)):
        expected = float(loss(jnp.array([x[column], y[row]])))
        np.testing.assert_allclose(values[row, column], expected, rtol=1e-12)
    path = {"a": [[0.0, 1.0], [1.0, 2.0]]}
    assert plot.trajectories(path, loss=loss).collections
    assert plot.animate(path, io.BytesIO(), loss=loss).collections


@pytest.mark.parametrize(
    "loss",
    [
        jm.problems.quadratic([1.0, 4.0], noise=1.0).loss,
        jm.problems.tutorial_regression().loss,
        lambda x, y: np.ones(3) + x + y,
    ],
    ids=["noise", "batch", "shape"],
)
def test_a_loss_that_needs_data_is_refused_in_a_sentence(loss):
    with pytest.raises(ValueError, match="full_loss"):
        plot.trajectories({"a": descent(0.1, 0.0)}, loss=loss)


@pytest.mark.parametrize("wrap", [lambda params: params, lambda params: {"w": params}])
def test_params_that_a_sweep_records_are_paths(wrap):
    problem = jm.problems.tutorial_quadratic()

    def train(beta):
        start = wrap(problem.params)
        loss = lambda tree: problem.loss(jax.tree.leaves(tree)[0])  # noqa: E731
        optimizer = jm.heavy_ball(0.1, beta)
        return jm.optimize(loss, start, optimizer, 30, record=("value", "params"))

    runs = jm.sweep(train, jm.grid(beta=[0.0, 0.9]), progress=False, width=2)
    (name,) = (name for name in runs if str(name).startswith("params"))
    ax = plot.trajectories(runs[name])
    np.testing.assert_allclose(line(ax, "beta = 0.9"), descent(0.1, 0.9), rtol=1e-12, atol=1e-13)
    for paths in (runs[name], runs[name].rename("theta"), runs[name] - 1.0, runs[[name]]):
        moving = plot.animate(paths, io.BytesIO(), color="beta")
        assert moving.texts[0].get_text() == "step 30, 2 lanes"
