"""Spaces: their lanes, in order and in groups; what they cost; and what is no space."""

import functools
import itertools
import tracemalloc
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
import xarray
from scipy.stats import qmc

import jaxmom as jm
from jaxmom.sweeps import grid, half_life, log_uniform, memory, paired, sample, uniform
from jaxmom.sweeps.space.groups import group_key, label_groups
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
    "groups": lambda: grid(nesterov=[False, True], beta=[0.1, 0.2], name=["a", "b", "c"]),
    "paired groups": lambda: paired(beta=[1.0, 2.0, 3.0, 4.0], flag=[True, False, True, True]),
    "labeled": lambda: grid(momentum=METHODS, seed=range(3)),
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
MAKERS = {"grid": grid, "paired": paired}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
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


@pytest.mark.parametrize(("low", "high"), [(1e-5, 7), (1.1, 7), (0.3, 0.9), (1e-3, 49), (3, 1e4)])
@pytest.mark.parametrize("make", [uniform, log_uniform, memory, half_life])
def test_points_of_scales_end_where_they_say_to_the_last_bit(make, low, high):
    exact = {"memory": lambda m: 1 - 1 / m, "half_life": lambda h: 0.5 ** (1 / h)}
    value = exact.get(make.__name__, float)
    if make is memory:
        low, high = 1 + low, 1 + high
    for count in (2, 3, 11):
        points = make(low, high).points(count)
        assert (points[0], points[-1]) == (value(low), value(high))
    near = make(low, high).at(1 - np.arange(1, 9) * 2.0**-53)
    assert (near <= value(high)).all()


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
    assert [dim.size for dim in space.dims()] == [1_000_000, 50, 2]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def test_keys_of_lanes_agree_exactly_where_all_arguments_do():
    small = grid(beta=[0.0, 0.5], momentum=METHODS, seed=range(3))
    large = grid(seed=range(5), momentum=METHODS, beta=np.array([0.5, -0.0, 0.7]))
    keys = [[tuple(k) for k in hash_lanes(s, digest_labels(s)).tolist()] for s in (small, large)]
    assert [len(set(own)) for own in keys] == [small.size, large.size]
    common = set(keys[0]) & set(keys[1])
    assert len(common) == small.size
    for index, key in enumerate(keys[0]):
        ours, theirs = small.lane(index), large.lane(keys[1].index(key))
        assert (ours["beta"], ours["seed"]) == (theirs["beta"], theirs["seed"])
        assert plain(ours["momentum"]) == plain(theirs["momentum"])
    negative = jm.Stack(METHODS.labels, jax.tree.map(np.negative, METHODS.values))
    other = grid(beta=[0.0, 0.5], seed=range(3), momentum=negative)
    assert not {tuple(k) for k in hash_lanes(other, digest_labels(other)).tolist()} & set(keys[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid(), "at least one axis"),
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
        (lambda: grid(a=grid(b=[1, 2])), "multiply spaces"),
        (lambda: paired(a=[1], b=grid(b=[1])), "multiply spaces"),
        (lambda: grid(a=[1]).lane(1), "lane 1"),
        (lambda: sample(8, method="latin", a=uniform(0, 1)), "method of"),
        (lambda: sample(8), "at least one argument"),
        (lambda: sample(8, a=["x", "y"]), "multiply by jm.grid"),
        (lambda: sample(8, seed=range(3), a=uniform(0, 1)), "multiply the sample"),
        (lambda: uniform(1, 0), "not an interval"),
        (lambda: memory(0.5, 10), "low >= 1"),
        (lambda: log_uniform(0, 1), "low > 0"),
        (lambda: grid(m=jm.Stack(("a",), np.ones((2, 3)))), "one row for each label"),
    ],
)
def test_what_is_no_space_is_refused_with_a_sentence(make, message):
    with pytest.raises((ValueError, IndexError), match=message):
        make()


def test_two_functions_of_one_name_are_no_group():
    first, second = (lambda: 1), (lambda: 2)
    with pytest.raises(ValueError, match="same label"):
        paired(f=[first, second], x=[1.0, 2.0]).groups()
    assert len(grid(f={"one": first, "two": second}).groups()) == 2


def test_integers_beyond_int32_need_x64():
    assert grid(seed=[2**40]).lane(0) == {"seed": 2**40}
    stack = jm.Stack(("x",), np.array([2**40]))
    assert len(grid(w=stack)) == 1
    for axis in ({"seed": [2**40]}, {"w": stack}):
        with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
            grid(**axis)


# What a group is


@every_space
def test_groups_of_any_space_have_different_keys_and_names(name):
    groups = SPACES[name]().groups()
    assert len(set(map(group_key, groups))) == len(groups)
    assert len(set(label_groups(groups))) == len(groups)


def test_groups_that_differ_in_their_arguments_alone_are_told_apart():
    space = grid(a=[1.0], flag=[True]) + grid(b=[1.0], flag=[True]) + grid(flag=[True, False])
    groups = space.groups()
    assert label_groups(groups) == [
        "flag=True (a)",
        "flag=True (b)",
        "flag=True (no arguments)",
        "flag=False",
    ]
    assert len(set(map(group_key, groups))) == 4
    assert label_groups(grid(a=[1.0], flag=[True]).groups()) == ["flag=True"]


def test_a_group_is_the_same_in_any_space():
    alone = grid(flag=[True], beta=[0.1])
    among = grid(beta=[0.2], flag=[False, True]) + grid(other=[1.0])
    keys = [set(map(group_key, space.groups())) for space in (alone, among)]
    assert len(keys[0] & keys[1]) == 1


# Numbers


@pytest.mark.parametrize("base", [2**53, 2**60, -(2**60), 2**62])
def test_large_integers_are_compared_as_integers(base):
    seeds = [base + offset for offset in range(-2, 3)]
    spaces = {
        "grid": grid(seed=seeds),
        "paired": paired(seed=seeds, x=[0.5] * 5),
        "product": grid(x=[0.5]) * grid(seed=seeds),
        "union": grid(seed=seeds[:2]) + grid(seed=seeds[2:]),
    }
    for space in spaces.values():
        assert [lane["seed"] for lane in space] == seeds
        assert len({tuple(words) for words in hash_lanes(space, {}).tolist()}) == 5
    kept = from_json(to_json(spaces["grid"]))
    np.testing.assert_array_equal(hash_lanes(kept, {}), hash_lanes(spaces["union"], {}))


def test_an_integer_has_the_hash_of_the_float_that_it_equals():
    whole, floats = grid(x=[0, 1, -3, 2**40]), grid(x=[0.0, 1.0, -3.0, 2.0**40])
    np.testing.assert_array_equal(hash_lanes(whole, {}), hash_lanes(floats, {}))


def test_a_lane_with_nan_is_not_one_without_the_argument():
    space = grid(a=[1.0], b=[np.nan]) + grid(a=[1.0])
    assert len({tuple(words) for words in hash_lanes(space, {}).tolist()}) == 2
    other = grid(a=[1.0], b=[-np.nan])
    np.testing.assert_array_equal(hash_lanes(other, {})[0], hash_lanes(space, {})[0])


@pytest.mark.parametrize(
    "given",
    [
        [1, 2.5, 2**53 + 1],
        [np.int64(2**60 + 1), 0.5],
        (0.5, -(2**53) - 1),
    ],
)
def test_integers_that_are_no_floats_are_refused_among_floats(given):
    with pytest.raises(ValueError, match="beyond 2\\^53"):
        grid(x=given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: grid(x=[2**60]) + grid(x=[0.5]),
        lambda: grid(x=[0.5]) + paired(x=[2**60, 1], y=[1, 2]),
        lambda: grid(x=[2**60]) + sample(2, x=uniform(0, 1)),
        lambda: grid(x=[2**60], y=[1]) + grid(y=[1]),
        lambda: grid(y=[1]) + sample(2, x=[2**60, 2**61]),
    ],
)
def test_integers_that_a_union_would_round_are_refused(make):
    with pytest.raises(ValueError, match="would be rounded"):
        make()


def test_integers_that_stay_exact_are_admitted_in_unions():
    assert len(grid(x=[2**60]) + grid(x=[2**60 + 1, 5])) == 3
    mixed = grid(x=[0, 2**53]) + grid(x=[0.5])
    assert mixed.take(np.arange(3))["x"].tolist() == [0.0, 2.0**53, 0.5]
    assert [type(lane["x"]) for lane in mixed] == [float] * 3  # as they run
    whole = grid(x=[0], flag=[True]) + grid(y=[0.5])
    assert [list(map(type, lane.values())) for lane in whole] == [[int, bool], [float]]


@pytest.mark.parametrize(
    "given",
    [
        [np.int64(1), np.int64(2)],
        [1, np.uint64(2)],
        [np.int8(1), np.uint8(2)],
        np.array([1, 2], np.uint8),
        range(1, 3),
        jnp.array([1, 2]),
        [jnp.array(1), np.array(2)],
    ],
)
def test_integers_of_any_type_are_integers(given):
    space = grid(x=given)
    assert space.take(np.arange(2))["x"].dtype == np.int64
    assert [lane["x"] for lane in space] == [1, 2]


def test_an_error_with_integers_says_that_they_are_no_floats():
    def fn(beta, rate):
        return {"value": jax.grad(lambda b: rate * b**2)(beta)}

    with pytest.raises(TypeError) as caught:
        jm.sweep(fn, grid(beta=[0, 1], rate=[0.5]), width=2)
    assert "The axes ['beta'] have integers; write 1.0 for 1" in caught.value.__notes__[-1]
    assert len(jm.sweep(fn, grid(beta=[0.0, 1.0], rate=[0.5]), width=2).value) == 2


def test_counts_and_seeds_may_be_numpy_integers():
    ours = sample(np.int32(8), seed=np.int64(3), a=uniform(0, 1))
    plain = sample(8, seed=3, a=uniform(0, 1))
    assert to_json(ours) == to_json(plain)
    assert type(to_json(ours)[0]["seed"]) is type(to_json(ours)[0]["count"]) is int
    assert len(uniform(0, 1).points(np.int64(3))) == 3
    assert plain.lane(np.int64(2)) == plain.lane(2)


BIG = 2**60


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array([BIG + 1]), np.array([0.5])),
        ({"a": np.ones(1), "b": np.array([BIG])}, {"a": np.ones(1), "b": np.array([0.5])}),
        (np.array([-BIG]), np.float32([0.5])),
        (np.array([BIG]), np.array([1], np.uint64)),
    ],
)
def test_integers_of_pytrees_that_a_union_would_round_are_refused(first, second):
    left, right = (grid(w=jm.Stack(("x",), values)) for values in (first, second))
    for make in (lambda: left + right, lambda: right + left, lambda: left + left + right):
        with pytest.raises(ValueError, match=r"integer 1152921504606846\d+ in the values of 'w'"):
            make()
    assert len(left + left) == 2


# Axes from other libraries


@every_maker
@pytest.mark.parametrize(
    "given",
    [
        np.ma.masked_array([1.0, 2.0], [False, True]),
        np.ma.masked_array([1, 2], [True, True]),
        [1.0, np.ma.masked],
        jm.Stack(("a", "b"), np.ma.masked_array([1.0, 2.0], [False, True])),
    ],
)
def test_masked_values_are_refused_with_the_remedy(make, given):
    with pytest.raises(ValueError, match=r"masked values.*compressed"):
        make(beta=given)


class Pair(NamedTuple):
    first: str
    second: str


def test_a_named_tuple_is_a_single_value():
    assert [lane["pair"] for lane in grid(pair=Pair("a", "b"))] == [Pair("a", "b")]
    assert [lane["pair"] for lane in grid(pair=("a", "b"))] == ["a", "b"]


@every_maker
@pytest.mark.parametrize(
    "given",
    [
        np.linspace(0, 1, 4),
        np.linspace(0, 1, 4).astype(">f8"),
        np.linspace(0, 1, 4).astype(object),
        np.ma.masked_array(np.linspace(0, 1, 4)),
        jnp.linspace(0, 1, 4),
        xarray.DataArray(np.linspace(0, 1, 4), dims="labels", name="labels"),
        xarray.Dataset(coords={"labels": np.linspace(0, 1, 4)}).labels,
        list(xarray.DataArray(np.linspace(0, 1, 4))),
        [np.float32(0.0), *map(jnp.asarray, np.linspace(0, 1, 4)[1:])],
        pandas.Series(np.linspace(0, 1, 4)),
        pandas.Index(np.linspace(0, 1, 4)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_array_of_numbers_is_one_group(make, given):
    space = make(beta=given)
    (group,) = space.groups()
    assert group.names == ("beta",)
    np.testing.assert_array_equal(space.take(np.arange(4))["beta"], np.linspace(0, 1, 4))


def test_torch_tensors_are_numbers():
    torch = pytest.importorskip("torch")
    assert grid(beta=torch.tensor([0.5, 0.25])).lane(1) == {"beta": 0.25}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (xarray.DataArray(["x", "y"]), ["x", "y"]),
        (xarray.DataArray([True, False]), [True, False]),
        (np.array(["x", "y"], object), ["x", "y"]),
        (pandas.Series(["x", "y"]), ["x", "y"]),
        (xarray.DataArray(0.5), [0.5]),
        (jnp.float32(0.5), [0.5]),
        (np.float64(0.5), [0.5]),
        (0.5, [0.5]),
        ("x", ["x"]),
    ],
    ids=str,
)
def test_words_and_single_values_are_axes_as_well(given, values):
    assert [lane["a"] for lane in grid(a=given)] == values


@every_maker
@pytest.mark.parametrize(
    "keys",
    [
        lambda: jax.random.split(jax.random.key(0), 3),
        lambda: jax.random.key(0),
        lambda: [jax.random.key(0), jax.random.key(1)],
        lambda: list(jax.random.split(jax.random.key(0, impl="rbg"), 2)),
        lambda: jm.Stack(("x", "y"), {"key": jax.random.split(jax.random.key(0))}),
    ],
)
def test_random_keys_are_refused_with_the_remedy(make, keys):
    with pytest.raises(ValueError, match=r"call jax\.random\.key\(key\) in the function"):
        make(key=keys())


@every_maker
@pytest.mark.parametrize("scale", [uniform, log_uniform, memory, half_life])
def test_a_scale_is_refused_as_an_axis_with_the_remedies(make, scale):
    with pytest.raises(ValueError, match=rf"jm\.{scale.__name__}\(.*points.*jm\.sample"):
        make(beta=scale(1, 100))
    with pytest.raises(ValueError, match="has a scale, from 1 to 100"):
        make(beta=[scale(1, 100)])


# Labels


def scaled(x, k):
    return k * x


class Activation:
    def __call__(self, x):
        return x


ADDRESSED = {
    "partials": [functools.partial(scaled, k=1.0), functools.partial(scaled, k=2.0)],
    "objects": [Activation(), Activation()],
    "one object": [Activation()],
    "an optimizer": optax.sgd(0.1),
    "optimizers": [jm.sgd(0.1), jm.sgd(0.2)],
    "among others": ["plain", Activation()],
    "keys of a mapping": {Activation(): 1.0},
    "labels of a stack": jm.Stack((Activation(), Activation()), np.ones(2)),
}


@every_maker
@pytest.mark.parametrize("given", ADDRESSED.values(), ids=ADDRESSED)
def test_labels_with_addresses_are_refused_with_the_remedy(make, given):
    with pytest.raises(ValueError, match="give a mapping from labels to objects"):
        make(act=given)


def test_objects_with_labels_of_their_own_are_admitted():
    space = grid(act={"one": Activation(), "two": functools.partial(scaled, k=1.0)})
    assert space.labels(np.arange(2))["act"].tolist() == ["one", "two"]
    assert len(grid(act=[jnp.tanh, jax.nn.relu, None])) == 3
    assert len(grid(note=["starts at 0x10", "ends at 0xff"])) == 2


# Rounding


@pytest.mark.parametrize(
    "make",
    [
        lambda: grid(beta=memory(1, 1e9).points(4)),
        lambda: grid(beta=half_life(1, 1e9).points(4)),
        lambda: paired(beta=[0.5, 1 - 1e-9], x=[1, 2]),
        lambda: grid(beta=[1 - 1e-9]),
        lambda: grid(x=[1e300, 1.0]),
        lambda: grid(x=[-1e300]),
        lambda: grid(x=[1e-60]),
        lambda: grid(x=[0.5, 0.5 + 1e-12]),
        lambda: paired(x=[0.5 + 1e-12, 3.0, 0.5], y=[1, 2, 3]),
        lambda: sample(8, beta=memory(1, 1e9)),
        lambda: sample(8, beta=[1 - 1e-9, 0.5]),
        lambda: grid(b=[1 - 2e-7]) + grid(b=[1 - 2.01e-7]),
        lambda: grid(b=[0.5]) + paired(b=[0.25, 0.5 + 1e-12], c=[1, 2]),
        lambda: grid(b=[2**24 + 1]) + grid(b=[2.0**24]),
        lambda: grid(b=[0.5], f=[True]) + sample(8, b=[0.5 + 1e-12, 1.0]) * grid(f=[False]),
        lambda: grid(w=jm.Stack(("x", "y"), np.array([0.5, 0.5 + 1e-12]))),
        lambda: grid(w=jm.Stack(("x", "y"), {"a": np.array([[0, 1], [0, 1 + 1e-12]])})),
        lambda: grid(w=jm.Stack(("x", "y"), [np.ones(2), np.array([0.5, 1 - 1e-9])])),
        lambda: grid(w=jm.Stack(("x",), np.array([[1e300, 1.0]]))),
    ],
)
def test_values_that_float32_merges_or_moves_to_a_limit_are_warned_of(make):
    with warnings.catch_warnings():
        make()  # in float64 they are what they are
    with jax.enable_x64(False), pytest.warns(UserWarning, match="with a limit in float32"):
        make()


@pytest.mark.parametrize(
    "given",
    [
        np.linspace(0, 1, 1001),
        np.arange(0.1, 1.01, 0.1),
        0.1 * np.arange(-12, 12),
        memory(1, 1e4).points(1000),
        half_life(1, 1e4).points(1000),
        log_uniform(1e-8, 1e8).points(1000),
        [0.5, np.inf, np.nan],
        np.float32([0.1, 0.2]),
        jnp.bfloat16([0.1, 0.2]),
    ],
    ids=str,
)
def test_what_float32_merely_rounds_is_not_warned_of(given):
    with jax.enable_x64(False):
        space = paired(x=given)
        assert len(space) == len(given)
        assert len(space + paired(x=np.asarray(given)[::-1], y=given)) == 2 * len(given)


def test_labels_that_float32_keeps_apart_are_not_warned_of():
    values = {"a": np.array([[0.1, 0.2], [0.1 + 1e-12, 0.3], [0.1, 0.2]]), "n": np.array([1, 2, 1])}
    with jax.enable_x64(False):
        assert len(grid(w=jm.Stack(("x", "y", "again"), values))) == 3


def test_a_union_warns_of_what_its_spaces_did_not():
    with jax.enable_x64(False):
        with pytest.warns(UserWarning, match="coincide"):
            left = grid(b=[0.5, 0.5 + 1e-12])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            left + grid(b=[0.25])
    assert caught == []


# Names


def test_the_dimension_of_a_sample_is_lane_beside_any_axis():
    space = grid(lane_rate=[1.0, 2.0]) * sample(4, a=uniform(0, 1)) * paired(b=[1, 2])
    assert [dim.name for dim in space.dims()] == ["lane_rate", "lane", "lane_1"]


@pytest.mark.parametrize("name", ["lane", "step", "status", "diverged_at", "lane_1", "lane_12"])
@pytest.mark.parametrize("make", [grid, paired, functools.partial(sample, 2)])
def test_names_that_every_result_has_are_refused(make, name):
    with pytest.raises(ValueError, match="an axis has the name of an argument"):
        make(**{name: [1.0]})


@pytest.mark.parametrize("name", ["method", "tolerance", "drop", "indexers"])
@pytest.mark.parametrize("make", [grid, paired])
def test_axes_that_sel_takes_for_its_own_keywords_are_warned_of(make, name):
    with pytest.warns(UserWarning, match=rf"write \.sel\({{'{name}': \.\.\.}}\)"):
        space = make(**{name: [1.0, 2.0]})
    runs = jm.sweep(lambda **axes: {"y": axes[name]}, space, width=2)
    if make is grid:
        assert float(runs.y.sel({name: 2.0})) == 2.0


# Unions and products


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        ({"a": np.ones(2)}, {"b": np.ones(2)}),
        (np.ones(2), {"a": np.ones(2)}),
    ],
)
def test_values_of_different_shapes_are_refused_in_a_union(first, second):
    left, right = (grid(w=jm.Stack(("x", "y"), values)) for values in (first, second))
    with pytest.raises(ValueError, match="values of different shapes"):
        left + right
    with pytest.raises(ValueError, match="values of different shapes"):
        left + grid(w=jm.Stack(("x",), {"c": np.ones(1)}))
    together = grid(flag=[True]) * left + grid(flag=[False]) * right
    assert len(together.groups()) == 2
    assert [plain(lane["w"]) for lane in together] == [plain(lane["w"]) for lane in [*left, *right]]

    def fn(w, flag):
        return {"sum": sum(jnp.sum(leaf) for leaf in jax.tree.leaves(w))}

    runs = jm.sweep(fn, together, width=2)
    expected = [sum(np.sum(x) for x in jax.tree.leaves(lane["w"])) for lane in together]
    np.testing.assert_array_equal(runs["sum"], expected)


@jax.tree_util.register_pytree_node_class
class Box:
    """A pytree without an equality of its own."""

    def __init__(self, content):
        self.content = content

    def tree_flatten(self):
        return (self.content,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_pytrees_without_equality_go_into_unions():
    left, right = (grid(w=jm.Stack((label,), Box(np.ones(1)))) for label in "xy")
    assert (left + right).take(np.arange(2))["w"].content.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("other", [3, {"a": [1]}, None])
def test_only_spaces_are_multiplied_and_added(other):
    for combine in (lambda: grid(a=[1]) * other, lambda: grid(a=[1]) + other):
        with pytest.raises(TypeError, match="unsupported operand"):
            combine()


@pytest.mark.parametrize("seed", [-1, 0.5, 2**63, None, "0"])
def test_seeds_of_a_sample_are_integers_from_zero_on(seed):
    with pytest.raises(ValueError, match="an integer of at least 0"):
        sample(8, seed=seed, a=uniform(0, 1))


@pytest.mark.parametrize("given", [{"beta": [0.1]}, [0.1, 0.2], None, jm.memory(1, 10)])
def test_a_sweep_over_no_space_is_refused_with_a_sentence(given):
    for run in (jm.sweep, jm.explain):
        with pytest.raises(TypeError, match=r"runs over a space, not over a .*jm\.grid"):
            run(lambda beta: {"value": beta}, given)
    with pytest.raises(TypeError, match="runs over a space"):
        jm.halving(lambda state, steps, beta: (state, {"value": beta}), given, [1], width=1)
