"""Results of sweeps: status, names, the best cell, bands over seeds, halving, other drivers."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
import xarray

import jaxmom as jm
from jaxmom.sweeps import bands, best, grid, halving, paired, sweep
from jaxmom.sweeps.estimate import trace_groups
from jaxmom.sweeps.results.checks import read_steps
from jaxmom.sweeps.results.dataset import DIVERGED, FAILED, MISSING, OK, Status, add_status


def dataset(values, status, dims=("beta", "seed", "step"), diverged_at=None):
    """A sweep by hand: values over some dims, the last of which may be the step."""
    values, status = np.asarray(values, float), np.asarray(status)
    lanes = dims[: status.ndim]
    never = np.full(status.shape, -1) if diverged_at is None else np.asarray(diverged_at)
    coords = {dim: np.arange(size) for dim, size in zip(dims, values.shape, strict=True)}
    coords |= {"status": (lanes, status), "diverged_at": (lanes, never)}
    return xarray.Dataset({"value": (dims, values)}, coords)


def test_best_is_the_least_median_at_the_last_record():
    values = np.zeros((3, 3, 2))
    values[:, :, 0] = [[0, 0, 0], [9, 9, 9], [9, 9, 9]]  # the first record does not count
    values[:, :, 1] = [[5, 5, 5], [1, 9, 2], [0, 3, 4]]
    runs = dataset(values, np.full((3, 3), OK))
    cell = best(runs)
    assert (int(cell.beta), cell.attrs["best"]) == (1, 2)
    assert cell.sizes == {"seed": 3, "step": 2}
    cell = best(runs, over="")
    assert (int(cell.beta), int(cell.seed), cell.attrs["best"]) == (2, 0, 0)
    cell = best(runs, maximize=True)
    assert (int(cell.beta), cell.attrs["best"]) == (0, 5)


@pytest.mark.parametrize("status", [DIVERGED, FAILED, MISSING])
def test_best_is_never_a_lane_that_is_not_ok(status):
    values = [[-9.0, -9.0, 3.0], [4.0, 4.0, 4.0], [np.nan, 1.0, np.nan]]
    statuses = [[status, status, OK], [OK, OK, OK], [OK, OK, OK]]
    cell = best(dataset(values, statuses, ("beta", "seed")))
    assert (int(cell.beta), cell.attrs["best"]) == (1, 4)


def test_where_all_diverged_best_is_empty_and_says_so():
    runs = dataset(np.ones((2, 2)), np.full((2, 2), DIVERGED), ("beta", "seed"))
    cell = best(runs)
    assert cell.sizes == {"beta": 0, "seed": 2}
    assert cell.attrs["best"] == np.inf


@pytest.mark.parametrize("over", ["nothing", "sed", "step", ["seed"], ("seed",), None, 0])
@pytest.mark.parametrize("summary", [best, bands])
def test_seeds_are_along_a_dimension_that_the_lanes_have(summary, over):
    runs = dataset(np.ones((2, 3, 4)), np.full((2, 3), OK))
    with pytest.raises(ValueError, match=r"over is one of the dims \['beta', 'seed'\]"):
        summary(runs, over=over)


@pytest.mark.parametrize("order", [("step", "seed", "beta"), ("seed", "step", "beta")])
def test_variables_are_summarized_whatever_the_order_of_their_dims(order):
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    runs = dataset(values, np.full((2, 3), OK))
    turned = runs.assign(turned=runs.value.transpose(*order))
    assert best(turned, "turned").attrs["best"] == best(runs).attrs["best"]
    spread = bands(turned, "turned").transpose("beta", "step")
    xarray.testing.assert_equal(spread, bands(runs))


@pytest.mark.parametrize("summary", [best, bands])
def test_variables_without_a_value_for_each_lane_are_refused(summary):
    runs = dataset(np.ones((2, 3, 4)), np.full((2, 3), OK))
    runs = runs.assign(mean=runs.value.mean("beta"), total=runs.value.sum())
    with pytest.raises(ValueError, match=r"'mean' lacks the dims \['beta'\]"):
        summary(runs, "mean")
    with pytest.raises(ValueError, match=r"'total' lacks the dims \['beta', 'seed'\]"):
        summary(runs, "total")


def test_best_needs_one_number_for_each_lane():
    runs = dataset(np.ones((2, 3)), np.full(2, OK), ("beta", "value_0"))
    with pytest.raises(ValueError, match=r"several values for each lane, along \['value_0'\]"):
        best(runs)
    with pytest.raises(ValueError, match="no variable 'loss'"):
        best(runs, "loss")


@pytest.mark.parametrize("name", ["value", "loss"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_do_not_hide_the_best_of_another(name, bad):
    def train(beta):
        return {name: (beta - 0.6) ** 2, "steps_until_solved": jnp.where(beta > 2, 1.0, bad)}

    runs = sweep(train, grid(beta=[0.0, 0.5, 0.9]), width=3)
    assert (runs.status == OK).all()
    assert float(best(runs, name).beta) == 0.5
    assert float(best(runs, name, maximize=True).beta) == 0.0
    assert best(runs, "steps_until_solved").sizes == {"beta": 0}


def test_best_never_takes_a_value_that_is_not_finite():
    def train(beta):
        loss = jnp.where(beta > 0.7, jnp.nan, (beta - 0.6) ** 2)
        return {"loss": jnp.where(beta < 0.3, -jnp.inf, loss), "other": beta}

    runs = sweep(train, grid(beta=[0.0, 0.5, 0.9]), width=3)
    assert float(best(runs, "loss").beta) == 0.5


def unequal(size, beta, seed):
    return {"value": (beta - 0.6) ** 2, "w": jnp.ones(size) * beta}


@pytest.fixture(scope="module")
def tree():
    space = grid(size={"two": 2, "three": 3}, beta=[0.0, 0.5, 0.9], seed=range(2))
    return sweep(unequal, space, width=6)


def test_a_node_of_a_tree_is_summarized_as_its_dataset(tree):
    node = tree["size=two"]
    for given in (node, node.to_dataset()):
        assert float(best(given).beta) == 0.5
        np.testing.assert_allclose(bands(given).middle, [0.36, 0.01, 0.09])


@pytest.mark.parametrize("summary", [best, bands])
def test_what_is_no_dataset_of_a_sweep_is_refused_with_the_remedy(tree, summary):
    with pytest.raises(ValueError, match=r"one of its nodes, such as runs\['size=two'\]"):
        summary(tree)
    with pytest.raises(ValueError, match=r"the Dataset that a sweep returns.*DataArray"):
        summary(tree["size=two"].value)
    with pytest.raises(ValueError, match="with its status; got Dataset"):
        summary(tree["size=two"].to_dataset().drop_vars("status"))


@pytest.mark.parametrize(
    "options",
    [
        {"quantiles": (0.75, 0.25)},
        {"quantiles": (25, 75)},
        {"quantiles": (-0.1, 0.5)},
        {"quantiles": (np.nan, 0.5)},
        {"resamples": 0},
        {"resamples": 10.0},
        {"quantiles": 0.5},
        {"quantiles": (0.1, 0.5, 0.9)},
    ],
)
def test_quantiles_out_of_order_are_refused(options):
    runs = dataset(np.ones((2, 3)), np.full((2, 3), OK), ("beta", "seed"))
    with pytest.raises(ValueError, match="two quantiles in order"):
        bands(runs, **options)


@pytest.mark.parametrize("summary", [best, bands])
def test_complex_values_are_refused_with_the_remedy(summary):
    runs = dataset(np.ones((2, 3)), np.full((2, 3), OK), ("beta", "seed"))
    with pytest.raises(ValueError, match="complex numbers have no order"):
        summary(runs.assign(value=1j * runs.value))
    assert summary(runs.assign(value=abs(1j * runs.value))).sizes


def test_bands_are_quantiles_and_the_bootstrap_of_scipy():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 15, 3))
    spread = bands(dataset(values, np.full((2, 15), OK)), quantiles=(0.1, 0.8), resamples=4000)
    for name, share in [("middle", 0.5), ("low", 0.1), ("high", 0.8)]:
        np.testing.assert_allclose(spread[name], np.quantile(values, share, axis=1), rtol=1e-13)
    reference = scipy.stats.bootstrap(
        (values,), np.median, axis=1, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    # Both are quantiles of the same discrete distribution; they may be one order statistic apart.
    ordered = np.sort(values, axis=1)
    for ours, theirs in [(spread.middle_low, reference.low), (spread.middle_high, reference.high)]:
        ranks = [(ordered <= end[:, None]).sum(axis=1) for end in (ours.values, theirs)]
        assert np.abs(ranks[0] - ranks[1]).max() <= 1
    assert (spread.middle_low <= spread.middle).all()
    assert (spread.diverged == 0).all()


def test_seeds_that_diverged_count_as_infinite_from_then_on():
    values = np.ones((1, 4, 3)) * [[[1.0], [2.0], [3.0], [4.0]]]
    status, at = [[OK, DIVERGED, OK, OK]], [[-1, 0, -1, -1]]
    runs = dataset(values, status, diverged_at=at)
    spread = bands(runs, quantiles=(0.0, 1.0))
    np.testing.assert_array_equal(spread.middle, [[2.5, 3.5, 3.5]])
    np.testing.assert_array_equal(spread.high, [[4, np.inf, np.inf]])
    np.testing.assert_array_equal(spread.diverged, [1])
    with pytest.raises(ValueError, match="1 lanes are missing"):
        bands(dataset(values, [[OK, MISSING, OK, OK]]))
    with pytest.raises(ValueError, match="'chain'"):
        bands(runs, over="chain")


DIVERGING = dataset(
    np.arange(24.0).reshape(2, 3, 4),
    [[OK, DIVERGED, DIVERGED], [OK, OK, OK]],
    diverged_at=[[-1, 0, 2], [-1, -1, -1]],
)


@pytest.mark.parametrize("step", range(4))
def test_bands_of_a_record_are_those_of_its_place_in_all_records(step):
    record = bands(DIVERGING).isel(step=step)
    xarray.testing.assert_identical(bands(DIVERGING.isel(step=step)), record)
    one = bands(DIVERGING.isel(step=[step])).isel(step=0)
    xarray.testing.assert_identical(one, record)


def test_without_steps_a_lane_that_diverged_counts_as_infinite():
    def fn(rate, seed):
        at = jnp.where((rate > 1) & (seed > 0), 3, -1)
        return {"value": rate, "diverged_at": at}

    spaces = grid(rate=[0.5, 2.0], seed=range(3))
    for runs in (sweep(fn, spaces, width=6), DIVERGING.isel(step=-1, drop=True)):
        middle = bands(runs).middle
        np.testing.assert_array_equal(np.isinf(middle).sum(), 1)
    wide = DIVERGING.assign(norm=DIVERGING.value.isel(step=-1, drop=True))  # at the end of the run
    np.testing.assert_array_equal(bands(wide, "norm").middle, [np.inf, 19.0])


def test_a_sweep_goes_straight_into_the_plots():
    def train(beta, learning_rate, seed):
        x = jax.random.normal(jax.random.key(seed), (2,))
        optimizer = jm.heavy_ball(learning_rate, beta)
        return jm.optimize(lambda p: jnp.sum(p**2), x, optimizer, 5)

    runs = sweep(train, grid(beta=[0.0, 0.5], learning_rate=[0.1, 3.0], seed=range(3)), width=12)
    ax = jm.plot.heatmap(runs.value.isel(step=-1, seed=0))
    assert "diverged" in ax.get_legend_handles_labels()[1]
    ax = jm.plot.curves(runs.value.sel(learning_rate=0.1))
    assert any("3 seeds" in label for label in ax.get_legend_handles_labels()[1])


# Status and names


def lane_status(**outputs):
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return add_status(arrays)["status"].tolist()


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"value": [1.0, np.nan, np.inf]}, [OK, DIVERGED, DIVERGED]),
        ({"value": [[1.0, 2.0], [np.nan, 1.0]]}, [OK, DIVERGED]),
        ({"value": [1.0, 2.0], "other": [np.nan, 3.0]}, [OK, OK]),
        ({"value": [1.0, np.nan], "other": [2.0, 3.0]}, [OK, DIVERGED]),
        ({"value": [1, 2], "other": [np.nan, 3.0]}, [OK, OK]),
        ({"loss": [1.0, np.inf]}, [OK, DIVERGED]),
        ({"loss": [1.0, np.inf], "count": [1, 2]}, [OK, DIVERGED]),
        ({"loss": [1.0, np.inf], "other": [np.nan, 2.0]}, [OK, OK]),
        ({"loss": [1.0, np.inf], "other": [np.nan, np.nan]}, [OK, DIVERGED]),
        ({"loss": [1.0 + 1j, np.nan + 0j]}, [OK, DIVERGED]),
        ({"loss": np.array([1.0, np.nan], jnp.bfloat16)}, [OK, DIVERGED]),
        ({"count": [1, 2]}, [OK, OK]),
        ({"value": [np.nan, 1.0], "diverged_at": [-1, 7]}, [OK, DIVERGED]),
        ({"value": [np.nan, 1.0], "diverged_at": [0, -1]}, [DIVERGED, OK]),
    ],
)
def test_what_marks_a_lane_as_diverged(outputs, expected):
    assert lane_status(**outputs) == expected


def test_the_flags_of_the_coordinate_are_those_of_the_enum():
    attrs = sweep(lambda x: {"y": x}, grid(x=[1.0]), width=1).status.attrs
    meanings = dict(zip(attrs["flag_meanings"].split(), attrs["flag_values"], strict=True))
    assert meanings == {status.name.lower(): int(status) for status in Status}


def counted(fn):
    """A function that counts the lanes that run, and the count."""
    ran = []

    @functools.wraps(fn)
    def counting(**axes):
        jax.debug.callback(lambda: ran.append(1))
        return fn(**axes)

    return counting, ran


NAMES = {
    "axis and dimension of an output": (lambda a, w_0: {"w": jnp.ones(3) * a}, {"w_0": [1.0]}),
    "output and dimension of another": (lambda a: {"w": jnp.ones(3) * a, "w_0": a}, {}),
    "output and axis": (lambda a: {"a": a}, {}),
    "output and dimension of lanes": (lambda a: {"lane": a}, {}),
    "output and status": (lambda a: {"status": a}, {}),
    "output and step": (lambda a: {"step": a}, {}),
    "two paths of one name": (lambda a: {"m.x": a, "m": {"x": 2 * a}}, {}),
    "a place in a list and a name": (lambda a: {"m": [a], "m.0": a}, {}),
    "a flag of diverged_at": (lambda a: {"v": a, "diverged_at": jnp.isnan(a)}, {}),
    "a float of diverged_at": (lambda a: {"v": a, "diverged_at": a}, {}),
    "a vector of diverged_at": (lambda a: {"v": a, "diverged_at": -jnp.ones(3, int)}, {}),
}


@pytest.mark.parametrize(("fn", "axes"), NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_names_that_clash_are_refused_before_anything_runs(tmp_path, stored, fn, axes):
    counting, ran = counted(fn)
    store = tmp_path / "store" if stored else None
    with pytest.raises(ValueError, match="rename"):
        sweep(counting, grid(a=[1.0, 2.0], **axes), width=2, store=store)
    jax.effects_barrier()
    assert not ran
    with pytest.raises(ValueError, match="rename"):
        jm.explain(counting, grid(a=[1.0, 2.0], **axes), width=2)


def test_an_output_may_not_have_the_name_of_an_axis_of_another_group():
    def fn(a=None, b=None):
        return {"b": a} if b is None else {"c": b}

    sweep(fn, grid(b=[1.0, 2.0]), width=2)
    same = grid(a=[1.0]) + grid(a=[1.0], c=[1.0])
    with pytest.raises(ValueError, match="rename"):
        sweep(lambda a, c=0.0: {"c": a}, same, width=2)


def test_an_output_may_not_have_the_name_of_a_second_dimension_of_lanes():
    space = paired(a=[1.0]) * paired(b=[1.0])
    with pytest.raises(ValueError, match="rename"):
        sweep(lambda a, b: {"lane_1": a + b}, space, width=1)


def of_size(size, a):
    return {"value": a, "w": jnp.ones(size)}


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
@pytest.mark.parametrize(
    ("fn", "labels"),
    [
        (of_size, ("x", "x/y")),
        (lambda size, a: {"v/w": a, "w": jnp.ones(size)}, ("x", "y")),
    ],
)
def test_names_that_no_tree_admits_are_refused_before_anything_runs(tmp_path, stored, fn, labels):
    counting, ran = counted(fn)
    space = grid(size=dict(zip(labels, (2, 3), strict=True)), a=[1.0, 2.0])
    store = tmp_path / "store" if stored else None
    with pytest.raises(ValueError, match="nodes of a DataTree"):
        sweep(counting, space, width=2, store=store)
    jax.effects_barrier()
    assert not ran


def test_an_axis_of_one_value_stays_beside_one_with_a_longer_name():
    space = grid(reseed={"x": 2, "y=1": 3}, seed=[0], a=[1.0, 2.0])
    tree = sweep(lambda reseed, seed, a: of_size(reseed, a), space, width=2)
    for label in ("x", "y=1"):
        node = tree[f"reseed={label}"]
        assert node.value.sizes == {"seed": 1, "a": 2}
        assert str(node.reseed.values) == label


def test_slashes_that_stand_in_no_way_are_admitted():
    tree = sweep(of_size, grid(size={"x/y": 2, "x/z": 3}, a=[1.0]), width=1)
    assert tree["size=x/y"].w.sizes == {"a": 1, "w_0": 2}
    runs = sweep(lambda a: {"v/w": a}, grid(a=[1.0]), width=1)
    assert list(runs) == ["v/w"]


def test_a_union_that_an_older_version_confused_is_refused(tmp_path):
    """Format 1 named a group by its labels alone, and both spaces of this union have none."""

    def fn(a=0.0, b=0.0):
        return {"x": a + 10 * b}

    space = grid(a=[1.0, 2.0]) + grid(b=[3.0])
    sweep(fn, space, width=2, store=tmp_path)
    path = tmp_path / "sweep.json"
    manifest = json.loads(path.read_text())
    outputs, identity = next(iter(manifest["outputs"].values())), manifest["identity"]
    identity["programs"] = {"all lanes": next(iter(identity["programs"].values()))}
    older = {"format": 1, "identity": identity, "outputs": {"": outputs}}
    path.write_text(json.dumps(older | {"provenance": manifest["provenance"]}))
    with pytest.raises(ValueError, match="an older version of jaxmom confused"):
        jm.open_sweep(tmp_path)
    longer = space + grid(a=[7.0])
    for resume, lanes in [("strict", space), ("extend", space), ("extend", longer)]:
        with pytest.raises(ValueError, match=r"function \(all lanes \(a\)\): was \(unknown\)"):
            sweep(fn, lanes, width=2, store=tmp_path, resume=resume)
    runs = sweep(fn, space, width=2, store=tmp_path, resume="fresh")
    assert runs.x.values.tolist() == [1.0, 2.0, 30.0]


# Steps of records


def descend(steps, every, rate=0.1, start=None):
    start = jnp.ones(2) if start is None else start
    return jm.optimize(
        lambda x: jnp.sum(x**2), start, jm.gradient_descent(rate), steps, every=every
    )


def continue_run(steps, every, rate):
    return descend(steps, every, rate, start=descend(3, 1, rate))


@pytest.mark.parametrize("fn", [descend, continue_run, jax.jit(descend, static_argnums=(0, 1))])
@pytest.mark.parametrize(("steps", "every"), [(5, 1), (7, 3), (6, 6)])
def test_steps_of_records_are_read_without_running_a_lane(fn, steps, every):
    counting, ran = counted(lambda rate: fn(steps, every, rate))
    (traced,) = trace_groups(counting, grid(rate=[0.1]))
    np.testing.assert_array_equal(read_steps(traced), fn(steps, every, 0.1).steps)
    jax.effects_barrier()
    assert not ran


def test_steps_may_come_with_the_data_of_a_function():
    before = descend(4, 2)

    def go_on(before, rate):
        return descend(4, 2, rate, start=before)

    fn = jax.tree_util.Partial(go_on, before)
    (traced,) = trace_groups(fn, grid(rate=[0.1]))
    assert read_steps(traced).tolist() == [4, 6, 8]


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_groups_with_other_steps_are_refused_before_anything_runs(tmp_path, stored):
    counting, ran = counted(lambda rate, steps: descend(steps, steps // 5, rate))
    space = grid(rate=[0.1, 0.2], steps={"short": 10, "long": 100})
    store = tmp_path / "store" if stored else None
    with pytest.raises(ValueError, match=r"'steps=short' at 0, 2, 4 \.\.\. 10 and 'steps=long' at"):
        sweep(counting, space, width=2, store=store)
    jax.effects_barrier()
    assert not ran


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_steps_are_known_where_every_chunk_failed(tmp_path, stored):
    def refuse(rate):
        raise RuntimeError("no lane comes to its end")

    def fn(rate):
        spec = jax.ShapeDtypeStruct((), rate.dtype)
        rate = jax.pure_callback(refuse, spec, rate, vmap_method="expand_dims")
        return descend(6, 2, rate)

    store = tmp_path / "store" if stored else None
    runs = sweep(fn, grid(rate=[0.1, 0.2]), width=2, store=store, on_error="record")
    assert (runs.status == FAILED).all()
    assert runs.step.values.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_groups_with_the_same_steps_share_the_coordinate(tmp_path, stored):
    def fn(rate, half):
        return descend(10, 2, rate / 2 if half else rate)

    store = tmp_path / "store" if stored else None
    runs = sweep(fn, grid(rate=[0.1, 0.2], half=[False, True]), width=2, store=store)
    assert runs.step.values.tolist() == [0, 2, 4, 6, 8, 10]
    tree = sweep(
        lambda rate, steps: descend(steps, 5, rate),
        grid(rate=[0.1], steps={"short": 10, "long": 20}),
        width=1,
        store=None if store is None else tmp_path / "tree",
    )
    ends = {name: int(node.step[-1]) for name, node in tree.children.items()}
    assert ends == {"steps=short": 10, "steps=long": 20}


# Halving


def segment(carry, steps, beta, learning_rate, seed=0, nesterov=False):
    make = jm.nesterov if nesterov else jm.heavy_ball
    optimizer = make(learning_rate, beta)
    start = jax.random.normal(jax.random.key(seed), (2,))
    params, state = (start, optimizer.init(start)) if carry is None else carry

    def value(x):
        return jnp.sum(jnp.array([4.0, 1.0]) * x**2) / 2

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(value)(params), state, params)
        return (params + updates, state), None

    carry, _ = jax.lax.scan(step, (params, state), length=steps)
    return carry, {"value": value(carry[0])}


HALVED = grid(
    beta=[0.0, 0.5, 0.9], learning_rate=[0.01, 0.1, 0.3, 2.0], seed=range(2), nesterov=[False, True]
)
RUNGS = [3, 3, 6]


def test_survivors_of_a_halving_have_the_bits_of_runs_without_selection():
    everyone = halving(segment, HALVED, RUNGS, keep=1.0, width=4)
    runs = halving(segment, HALVED, RUNGS, keep=0.3, width=4)
    ran = np.arange(3) < runs.rungs.values[..., None]
    np.testing.assert_array_equal(runs.value.values[ran], everyone.value.values[ran])
    assert np.isnan(runs.value.values[~ran]).all()
    assert runs.step.values.tolist() == [3, 6, 12]
    kept = int((runs.rungs == 3).sum())
    assert 0 < kept <= HALVED.size * 0.3**2 + 8


def test_halving_keeps_the_best_cells_with_all_their_seeds():
    everyone = halving(segment, HALVED, RUNGS, keep=1.0, width=4)
    runs = halving(segment, HALVED, RUNGS, keep=0.25, width=4)
    assert (runs.rungs.min("seed") == runs.rungs.max("seed")).all()
    scores = everyone.value.isel(step=0).median("seed").values.ravel()
    first = np.sort(np.argsort(scores, kind="stable")[: len(scores) // 4])
    went_on = np.flatnonzero((runs.rungs.isel(seed=0) > 1).transpose(*everyone.value.isel(
        step=0, seed=0).dims).values.ravel())  # fmt: skip
    np.testing.assert_array_equal(went_on, first)


def test_halving_never_goes_on_with_what_diverged():
    space = grid(beta=[0.9], learning_rate=[1e150, 1e160, 0.1])
    runs = halving(segment, space, [4, 4], keep=1.0, width=3)
    assert runs.rungs.values.ravel().tolist() == [1, 1, 2]
    assert runs.status.values.ravel().tolist() == [DIVERGED, DIVERGED, OK]


def test_survivors_of_a_halving_have_the_bits_of_one_long_sweep():
    """Runs go on over the host: a schedule, batches with a common key, noise with keys of its own.

    One seed of every cell is frozen in the second segment, and goes on so with its neighbors.
    """

    def draw(key, count):
        return jax.random.normal(key, (2,), jnp.float32), 100 * (count == 10).astype(jnp.float32)

    def loss(x, batch):
        noise, jump = batch
        return jnp.sum(jnp.array([4.0, 1.0], x.dtype) * x**2) / 2 + noise @ x + jump

    def optimize(start, steps, beta, learning_rate, seed):
        rate = jm.schedules.linear(learning_rate, 0.9 * learning_rate, steps=20)
        noise = jm.lift(optax.add_noise)(1e-3, 0.55, key=jax.random.key(5))
        return jm.optimize(
            loss,
            start,
            jm.chain(noise, jm.heavy_ball(rate, beta)),
            steps,
            batches=draw,
            key=jax.random.key(1),
            every=2,
            divergence=jnp.where(seed == 0, 5.0, 1e4),
        )

    def begin(seed):
        return jax.random.normal(jax.random.key(seed), (2,), jnp.float32)

    def segment(run, steps, beta, learning_rate, seed):
        start = begin(seed) if run is None else run
        run = optimize(start, steps, beta, learning_rate, seed)
        return run, run

    space = grid(beta=[0.0, 0.5, 0.9], learning_rate=[0.01, 0.1, 0.3, 0.9], seed=range(3))
    runs = halving(segment, space, [4, 8, 16], keep=0.5, width=4)
    long = sweep(
        lambda beta, learning_rate, seed: optimize(begin(seed), 28, beta, learning_rate, seed),
        space,
        width=4,
        progress=False,
    )
    ran = runs.rungs.values == 3
    assert 0 < ran.sum() < space.size / 2
    np.testing.assert_array_equal(
        runs.value.sel(step=28).values[ran], long.value.sel(step=28).values[ran]
    )
    at, whole = runs.diverged_at.values, long.diverged_at.values
    np.testing.assert_array_equal(at[ran], whole[ran])
    ended = np.array([4, 12, 28])[runs.rungs.values - 1]
    np.testing.assert_array_equal(at[whole < ended], whole[whole < ended])
    assert (at[ran] == 10).sum() == ran.sum() / 3


def test_what_halving_carries_is_what_the_segment_returned():
    """Dtypes, keys of both kinds and None; of a run all but its history, which would grow."""
    seen = []

    def carrying(state, steps, x):
        if state is None:
            run = jm.optimize(lambda x: x**2, x, jm.heavy_ball(0.1), steps)
            half = jnp.bfloat16(0.5)
            state = {"run": run, "half": half, "keys": (jax.random.key(1), jax.random.PRNGKey(2))}
            state |= {"none": None, "flag": x > 1}
        else:
            seen.append(jax.tree.map(lambda leaf: (jnp.shape(leaf), leaf.dtype), state))
            state |= {"run": jm.optimize(lambda x: x**2, state["run"], jm.heavy_ball(0.1), steps)}
            drawn = jax.random.uniform(state["keys"][0])
            return state, {"value": x, "drawn": drawn, "count": state["run"].steps[-1]}
        return state, {"value": x, "drawn": x, "count": state["run"].steps[-1]}

    halving(carrying, grid(x=[1.0, 2.0, 3.0]), [2, 3, 3, 2], keep=1.0, width=2)
    assert seen
    for state in seen:
        assert state["half"] == ((), jnp.bfloat16)
        assert jnp.issubdtype(state["keys"][0][1], jax.dtypes.prng_key)
        assert state["keys"][1] == ((2,), jnp.uint32)
        assert state["flag"] == ((), jnp.bool_)
        assert state["none"] is None
        assert state["run"].history == {}
        assert state["run"].steps == ((1,), jnp.int32)


@pytest.mark.parametrize(
    "as_outputs",
    [
        lambda run: run,
        lambda run: {"value": run.history["value"][-1], "diverged_at": run.diverged_at},
    ],
)
def test_halving_counts_divergence_from_the_first_update(as_outputs):
    def segment(run, steps, learning_rate):
        start = jnp.array(1.0) if run is None else run
        run = jm.optimize(lambda x: x**2 / 2, start, jm.gradient_descent(learning_rate), steps)
        return run, as_outputs(run)

    rates = jnp.array([0.1, 2.5, 3.0])
    first = [-1, *(int(np.ceil(np.log(1e6) / (2 * np.log(a - 1)))) for a in (2.5, 3.0))]
    runs = halving(segment, grid(learning_rate=rates), [6, 6, 6], keep=1.0, width=3)
    assert runs.diverged_at.values.tolist() == first
    assert runs.rungs.values.tolist() == [3, 3, 2]


class Killed(BaseException):
    """What no one catches."""


def test_a_halving_that_is_interrupted_goes_on_from_its_last_segment(tmp_path, monkeypatch):
    from jaxmom.sweeps.store.checkpoint import Checkpoint

    space, rungs, calls = grid(learning_rate=np.linspace(0.01, 0.5, 9), seed=range(2)), [4] * 4, []

    def segment(run, steps, learning_rate, seed):
        jax.debug.callback(lambda _: calls.append(1), seed, ordered=False)
        start = jax.random.normal(jax.random.key(seed), (2,)) if run is None else run[0]
        key = jax.random.key(seed) if run is None else run[1]
        optimizer = jm.heavy_ball(learning_rate, 0.9)
        run = jm.optimize(lambda x: jnp.sum(x**4 - x**2), start, optimizer, steps)
        return (run, key), run

    def halved(**where):
        return halving(segment, space, rungs, keep=0.5, width=4, **where)

    expected = halved()
    save = Checkpoint.save

    def killed_at(number):
        def saving(self, at, arrays):
            if at == number:
                raise Killed
            save(self, at, arrays)

        monkeypatch.setattr(Checkpoint, "save", saving)
        with pytest.raises(Killed):
            halved(store=tmp_path)

    killed_at(1)  # before anything is kept
    killed_at(3)
    assert [path.name for path in tmp_path.glob("parts/*")] == ["0-2.npz"]
    monkeypatch.setattr(Checkpoint, "save", save)
    calls.clear()
    runs = halved(store=tmp_path)
    xarray.testing.assert_identical(runs.drop_attrs(), expected.drop_attrs())
    jax.effects_barrier()
    assert len(calls) < 9 * 2  # of the last two segments, of the survivors
    xarray.testing.assert_identical(halved(store=tmp_path).drop_attrs(), expected.drop_attrs())
    part = tmp_path / "parts" / "0-4.npz"
    part.write_bytes(part.read_bytes()[:-9])
    xarray.testing.assert_identical(halved(store=tmp_path).drop_attrs(), expected.drop_attrs())
    assert (tmp_path / "parts" / "0-4.bad").exists()


def test_the_store_of_a_halving_is_of_that_one_alone(tmp_path):
    space = grid(learning_rate=[0.1, 0.2], beta=[0.5])
    halving(segment, space, [2, 2], width=2, store=tmp_path)
    with pytest.raises(ValueError, match=r"options\.keep: was 0\.5, is 1\.0"):
        halving(segment, space, [2, 2], keep=1.0, width=2, store=tmp_path)
    with pytest.raises(ValueError, match="store of a halving"):
        jm.open_sweep(tmp_path)

    def train(learning_rate, beta):
        return {"value": learning_rate * beta}

    with pytest.raises(ValueError, match="holds a halving"):
        sweep(train, space, width=2, store=tmp_path)
    sweep(train, space, width=2, store=tmp_path / "sweep")
    with pytest.raises(ValueError, match="holds something else"):
        halving(segment, space, [2, 2], width=2, store=tmp_path / "sweep")


def test_halving_pays_for_the_survivors_alone():
    batches = []

    def counting(state, steps, x):
        jax.debug.callback(lambda _: batches.append(1), x)  # once for each lane that is computed
        return x, {"value": x}

    halving(counting, grid(x=np.arange(32.0)), [1, 1, 1], keep=0.25, width=4)
    jax.effects_barrier()
    assert len(batches) == 32 + 8 + 4  # two lanes go on at last, in a chunk of four


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_halving_checks_its_share(keep):
    with pytest.raises(ValueError, match="keep is in"):
        halving(segment, HALVED, RUNGS, keep=keep, width=4)


def test_optuna_asks_and_a_chunk_of_lanes_answers():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def loss(beta, learning_rate):
        return {"value": (beta - 0.7) ** 2 + jnp.log(learning_rate / 0.05) ** 2}

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    space = {
        "beta": optuna.distributions.FloatDistribution(0, 1),
        "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1, log=True),
    }
    for _ in range(6):
        trials = [study.ask(space) for _ in range(16)]
        asked = {name: [trial.params[name] for trial in trials] for name in space}
        answers = sweep(loss, paired(**asked), width=16)
        for trial, value in zip(trials, answers.value.values, strict=True):
            study.tell(trial, float(value))
    first = min(trial.value for trial in study.trials[:16])
    assert study.best_value < first / 3
