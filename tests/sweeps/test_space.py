"""Spaces: which lanes there are, in what order, in which groups, and what they cost."""

import itertools
import tracemalloc

import jax
import numpy as np
import pytest
from scipy.stats import qmc

import jaxmom as jm
from jaxmom.sweeps import grid, half_life, log_uniform, memory, paired, sample, uniform
from jaxmom.sweeps.space.serialize import digest_labels, from_json, hash_lanes, to_json

METHODS = jm.stack(
    {
        "nesterov": jm.coefficients.nesterov(beta=0.9),
        "aggmo": jm.coefficients.aggmo(betas=(0.0, 0.9, 0.99)),
    }
)
SPACES = {
    "grid": lambda: grid(beta=[0.0, 0.5, 0.9], learning_rate=np.array([0.1, 0.2]), seed=range(4)),
    "paired": lambda: paired(beta=[0.0, 0.5, 0.5], learning_rate=[0.1, 0.1, 0.2]),
    "groups": lambda: grid(nesterov=[False, True], beta=[0.1, 0.2], method=["a", "b", "c"]),
    "paired groups": lambda: paired(beta=[1.0, 2.0, 3.0, 4.0], flag=[True, False, True, True]),
    "labeled": lambda: grid(method=METHODS, seed=range(3)),
    "sobol": lambda: sample(100, beta=memory(1, 1e4), learning_rate=log_uniform(1e-4, 1)),
    "halton": lambda: sample(77, method="halton", beta=half_life(1, 99), count=[1, 2, 5]),
    "random": lambda: sample(50, method="random", seed=3, x=uniform(-1, 1)) * grid(seed=range(2)),
    "union": lambda: grid(beta=[0.1, 0.2], seed=[1, 2]) + paired(beta=[7.0, 8.0], seed=[3, 4]),
    "union of unlike": lambda: (
        (grid(beta=[0.1, 0.2], flag=[True, False]) + paired(beta=[0.5], extra=[3.0]))
        * grid(seed=range(3))
    ),
    "sampled groups": lambda: (
        sample(16, beta=uniform(0, 1)) * grid(optimizer=[jm.sgd, jm.qhm])
        + sample(8, seed=1, beta=uniform(0, 1)) * grid(optimizer={"sgd": jm.sgd})
    ),
}
every_space = pytest.mark.parametrize("name", SPACES)


def plain(value):
    """A lane's argument as something that can be compared."""
    leaves = jax.tree.leaves(value)
    return tuple(leaf if callable(leaf) else np.asarray(leaf).tolist() for leaf in leaves)


@every_space
def test_groups_divide_the_lanes_and_find_inverts_at(name):
    space = SPACES[name]()
    seen = []
    for group in space.groups():
        positions = np.arange(group.rows.size)
        index = group.rows.at(positions)
        seen += index.tolist()
        np.testing.assert_array_equal(group.rows.find(index), positions)
        others = np.setdiff1d(np.arange(-2, space.size + 2), index)
        assert (group.rows.find(others) == -1).all()
    assert sorted(seen) == list(range(space.size))


@every_space
def test_the_arguments_of_a_group_are_those_of_its_lanes(name):
    space = SPACES[name]()
    for group in space.groups():
        order = np.random.default_rng(0).permutation(group.rows.size)
        index = group.rows.at(order)
        taken = space.take(index)
        for row, lane_index in enumerate(index):
            lane = space.lane(int(lane_index))
            assert set(lane) == {*group.static, *group.names}
            for argument, value in lane.items():
                if argument in group.static:
                    assert value is group.static[argument] or value == group.static[argument]
                else:
                    here = jax.tree.map(lambda leaf, row=row: leaf[row], taken[argument])
                    assert plain(here) == plain(value)


@every_space
def test_dims_have_the_coordinates_of_the_lanes(name):
    space = SPACES[name]()
    labels, dims = space.labels(np.arange(space.size)), space.dims()
    assert len({dim.name for dim in dims}) == len(dims)
    shape = [dim.size for dim in dims]
    for axis, dim in enumerate(dims):
        for argument, column in dim.coordinates.items():
            view = np.moveaxis(labels[argument].reshape(shape), axis, -1)
            np.testing.assert_array_equal(view, np.broadcast_to(column, view.shape))


@every_space
def test_a_space_survives_json_but_for_its_objects(name):
    space = SPACES[name]()
    again = from_json(to_json(space))
    index = np.arange(space.size)
    for argument, column in space.labels(index).items():
        np.testing.assert_array_equal(again.labels(index)[argument], column)
    for ours, theirs in zip(space.groups(), again.groups(), strict=True):
        assert (ours.labels, ours.names) == (theirs.labels, theirs.names)
        np.testing.assert_array_equal(
            ours.rows.at(np.arange(ours.rows.size)), theirs.rows.at(np.arange(theirs.rows.size))
        )


def test_a_grid_is_the_product_of_itertools_in_order():
    axes = {"beta": [0.0, 0.5, 0.9], "seed": [3, 1], "flag": [False, True]}
    space = grid(**axes)
    expected = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    assert list(space) == expected
    assert list(grid(beta=axes["beta"]) * grid(seed=axes["seed"], flag=axes["flag"])) == expected


def test_paired_goes_along_and_a_union_goes_on():
    first, second = paired(a=[1, 2], b=[3.0, 4.0]), paired(a=[5], b=[6.0])
    assert list(first + second) == [{"a": 1, "b": 3.0}, {"a": 2, "b": 4.0}, {"a": 5, "b": 6.0}]
    assert len((first + second + first).components[0].spaces) == 3


@pytest.mark.parametrize(("method", "engine"), [("sobol", qmc.Sobol), ("halton", qmc.Halton)])
def test_samples_are_those_of_scipy_in_any_order(method, engine):
    space = sample(4096, method=method, seed=5, a=uniform(0, 1), b=uniform(2, 4))
    points = engine(2, scramble=True, rng=5).random(4096) * [1, 2] + [0, 2]
    index = np.random.default_rng(0).permutation(4096)[:1000]
    taken = space.take(index)
    np.testing.assert_array_equal(np.stack([taken["a"], taken["b"]], -1), points[index])


def test_random_samples_are_even_and_independent_of_the_count():
    index = np.arange(10_000)
    taken = sample(10_000, method="random", a=uniform(0, 1), b=uniform(0, 1)).take(index)
    fewer = sample(10, method="random", a=uniform(0, 1), b=uniform(0, 1)).take(index[:10])
    np.testing.assert_array_equal(fewer["a"], taken["a"][:10])
    # Five standard errors of a mean of uniform numbers, and of a correlation.
    np.testing.assert_allclose(np.mean(taken["a"]), 0.5, atol=5 / np.sqrt(12 * 10_000))
    assert abs(np.corrcoef(taken["a"], taken["b"])[0, 1]) < 5 / np.sqrt(10_000)


@pytest.mark.parametrize(
    ("scale", "even"),
    [
        (uniform(2, 5), lambda beta: beta),
        (log_uniform(1e-3, 10), np.log),
        (memory(1, 1e4), lambda beta: np.log(1 / (1 - beta))),
        (half_life(0.5, 200), lambda beta: np.log(np.log(0.5) / np.log(beta))),
    ],
)
def test_scales_are_even_in_what_they_say_and_end_where_they_say(scale, even):
    spread = even(scale.points(9))
    np.testing.assert_allclose(np.diff(spread), (spread[-1] - spread[0]) / 8, rtol=1e-9)
    ends = even(scale.points(2))
    own = np.array([scale.low, scale.high])
    np.testing.assert_allclose(ends, own if scale.kind == "uniform" else np.log(own), atol=1e-12)


def test_a_hundred_million_lanes_cost_no_memory_and_no_time_until_they_run():
    tracemalloc.start()
    space = sample(1_000_000, beta=memory(1, 1e4), learning_rate=log_uniform(1e-4, 1)) * grid(
        seed=range(50), nesterov=[False, True]
    )
    assert space.size == 10**8
    (first, second) = space.groups()
    index = first.rows.at(np.array([0, 49_999_999]))
    assert space.take(index)["seed"].tolist() == [0, 49]
    assert space.lane(int(index[1]))["nesterov"] is False
    assert second.rows.size == 50_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def test_keys_of_lanes_agree_exactly_where_all_arguments_do():
    small = grid(beta=[0.0, 0.5], method=METHODS, seed=range(3))
    large = grid(seed=range(5), method=METHODS, beta=np.array([0.5, -0.0, 0.7]))
    keys = [[tuple(k) for k in hash_lanes(s, digest_labels(s)).tolist()] for s in (small, large)]
    assert [len(set(own)) for own in keys] == [small.size, large.size]
    common = set(keys[0]) & set(keys[1])
    assert len(common) == small.size
    for index, key in enumerate(keys[0]):
        ours, theirs = small.lane(index), large.lane(keys[1].index(key))
        assert (ours["beta"], ours["seed"]) == (theirs["beta"], theirs["seed"])
        assert plain(ours["method"]) == plain(theirs["method"])
    negative = jm.Stack(METHODS.labels, jax.tree.map(np.negative, METHODS.values))
    other = grid(beta=[0.0, 0.5], seed=range(3), method=negative)
    assert not {tuple(k) for k in hash_lanes(other, digest_labels(other)).tolist()} & set(keys[0])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: grid(), "one axis at least"),
        (lambda: grid(beta=[]), "empty"),
        (lambda: grid(beta=[0.1, 0.2, 0.1]), "repeats \\[0.1\\]"),
        (lambda: grid(step=[1.0]), "none of"),
        (lambda: grid(status=[1.0]), "none of"),
        (lambda: grid(beta=np.ones((2, 2))), "one lane takes one number"),
        (lambda: grid(seed=[2**70]), "dtype object"),
        (lambda: grid(f=[lambda: 1, lambda: 2]), "repeats"),
        (lambda: paired(a=[1, 2], b=[1]), "same length"),
        (lambda: paired(), "same length"),
        (lambda: grid(a=[1]) * grid(a=[2]), "both spaces"),
        (lambda: grid(a=[1]).lane(1), "lane 1"),
        (lambda: sample(8, method="latin", a=uniform(0, 1)), "method of"),
        (lambda: sample(8), "one argument at least"),
        (lambda: sample(8, a=["x", "y"]), "multiply by jm.grid"),
        (lambda: sample(8, seed=range(3), a=uniform(0, 1)), "multiply the sample"),
        (lambda: uniform(1, 0), "no interval"),
        (lambda: memory(0.5, 10), "low >= 1"),
        (lambda: log_uniform(0, 1), "low > 0"),
        (lambda: grid(m=jm.Stack(("a",), np.ones((2, 3)))), "one row for each label"),
    ],
)
def test_what_is_no_space_is_refused_with_a_sentence(make, told):
    with pytest.raises((ValueError, IndexError), match=told):
        make()


def test_two_functions_of_one_name_are_no_group():
    first, second = (lambda: 1), (lambda: 2)
    with pytest.raises(ValueError, match="same label"):
        paired(f=[first, second], x=[1.0, 2.0]).groups()
    assert len(grid(f={"one": first, "two": second}).groups()) == 2


def test_integers_beyond_int32_need_x64():
    assert grid(seed=[2**40]).lane(0) == {"seed": 2**40}
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        grid(seed=[2**40])
