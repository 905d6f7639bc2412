"""Laws of any space: lanes are numbered without gaps, and a sweep equals the loop."""

import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import STATIC, TRACED, eighths, spaces

from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.results.dataset import OK
from jaxmom.sweeps.space.serialize import digest_labels, from_json, hash_lanes, to_json

laws = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
few_runs = settings(laws, max_examples=30)


def weigh(flag=False, word="", rows=None, **axes):
    """A number that tells all arguments apart.

    Weights are powers of two, so products are exact and no compiler can contract them with sums.
    """
    total = jnp.asarray(float(flag) / 16 + len(word) / 32)
    if rows is not None:
        total = total + rows["u"] / 256 + rows["v"][0] / 2**16 + rows["v"][1] / 2**24
    for place, name in enumerate(TRACED):
        if name in axes:
            total = total + 1024.0 * 4**place * jnp.asarray(axes[name], jnp.float64)
    return {"value": total}


def weigh_in_numpy(lane):
    total = float(lane.get("flag", False)) / 16 + len(lane.get("word", "")) / 32
    if "rows" in lane:
        first, second = lane["rows"]["v"]
        total += lane["rows"]["u"] / 256 + first / 2**16 + second / 2**24
    for place, name in enumerate(TRACED):
        if name in lane:
            total = total + 1024.0 * 4**place * lane[name]
    return total


def in_order(runs, space):
    """The values of a result in the order of the lanes."""
    return runs.value.transpose(*[dim.name for dim in space.dims()]).values.ravel()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A new folder at each call."""
    return lambda: tmp_path_factory.mktemp("store")


@few_runs
@given(space=spaces(), data=st.data())
def test_a_sweep_equals_the_loop(folder, space, data):
    width = data.draw(st.integers(1, min(space.size, 8) + 2), "width")
    expected = [weigh_in_numpy(lane) for lane in space]
    store = folder() if data.draw(st.booleans(), "with a store") else None
    runs = sweep(weigh, space, width=width, store=store, progress=False)
    np.testing.assert_array_equal(in_order(runs, space), expected)
    assert (runs.status == OK).all()
    if store is not None:
        np.testing.assert_array_equal(in_order(open_sweep(store), space), expected)
        sizes = [len(np.load(path)["status"]) for path in (store / "parts").glob("*.npz")]
        assert sum(sizes) == space.size


@settings(few_runs, max_examples=8)
@given(first=eighths(), second=eighths(), extra=eighths(), width=st.integers(1, 4))
def test_an_extended_sweep_equals_the_loop(folder, first, second, extra, width):
    """The lanes of the old space stay, in whatever order and company the new one has them."""
    store = folder()
    old = grid(a=first, b=second)
    sweep(weigh, old, width=width, store=store, progress=False)
    longer = grid(b=[*second, 99.0], a=first) + grid(a=extra, word=["yes"])
    runs = sweep(weigh, longer, width=width, store=store, resume="extend", progress=False)
    np.testing.assert_array_equal(in_order(runs, longer), [weigh_in_numpy(x) for x in longer])
    assert (runs.status == OK).all()


@settings(few_runs, max_examples=6)
@given(data=st.data())
def test_a_union_extends_each_of_its_spaces(folder, data):
    """Groups are known by their arguments too, in whatever space they first were."""
    pools = [grid(a=[0.5, 1.0]), grid(b=[2.0]), grid(a=[3.0], b=[4.0, 5.0]), grid(c=[1.5])]
    first, second, third = data.draw(st.permutations(pools), "spaces")[:3]
    old = first + second if data.draw(st.booleans(), "from a union") else first
    new = data.draw(st.sampled_from([old + third, third + old]), "extended")
    store = folder()
    sweep(weigh, old, width=2, store=store, progress=False)
    runs = sweep(weigh, new, width=2, store=store, resume="extend", progress=False)
    for result in (runs, open_sweep(store)):
        np.testing.assert_array_equal(in_order(result, new), [weigh_in_numpy(x) for x in new])


class AnyOrder:
    """An executor whose tasks are done in an order that is drawn."""

    def __init__(self, draw, workers):
        self.draw, self._max_workers, self.left = draw, workers, []

    def submit(self, fn, *args):
        future = concurrent.futures.Future()
        future.done = lambda: self.finish_one() or concurrent.futures.Future.done(future)
        self.left.append((future, fn, args))
        return future

    def finish_one(self):
        """Do one of the tasks, as time passes while the driver looks."""
        if self.left:
            future, fn, args = self.left.pop(self.draw(st.integers(0, len(self.left) - 1)))
            future.set_result(fn(*args))


@settings(few_runs, max_examples=5)
@given(space=spaces(), width=st.integers(1, 4), workers=st.integers(1, 3), data=st.data())
def test_chunks_may_be_done_in_any_order(space, width, workers, data):
    executor = AnyOrder(data.draw, workers)
    runs = sweep(weigh, space, width=width, executor=executor, progress=False)
    np.testing.assert_array_equal(in_order(runs, space), [weigh_in_numpy(x) for x in space])


def climb(state, steps, /, **axes):
    """Add the weight of a lane at each update; lanes of large weights diverge, one by one."""
    weight = weigh(**axes)["value"]
    state = jnp.zeros(()) if state is None else state
    state = state + steps * weight
    return state, {"value": jnp.where(state > 30_000, jnp.nan, state)}


def climb_in_numpy(lane, lengths):
    """Return the last value of a lane and the updates that it ran."""
    ends = np.cumsum(lengths)
    values = ends * weigh_in_numpy(lane)
    last = next((n for n, value in enumerate(values) if value > 30_000), len(ends) - 1)
    return (np.nan if values[last] > 30_000 else values[last]), ends[last]


@settings(few_runs, max_examples=5)
@given(
    space=spaces(),
    width=st.integers(1, 4),
    lengths=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=3),
    data=st.data(),
)
def test_segments_equal_the_loop(folder, space, width, lengths, data):
    executor = AnyOrder(data.draw, 2) if data.draw(st.booleans(), "with an executor") else None
    store = folder() if data.draw(st.booleans(), "with a store") else None
    options = {"width": width, "segments": lengths, "store": store, "progress": False}
    runs = sweep(climb, space, executor=executor, **options)
    values, ended = zip(*[climb_in_numpy(lane, lengths) for lane in space], strict=True)
    np.testing.assert_array_equal(in_order(runs, space), values)
    np.testing.assert_array_equal(
        in_order(runs[["ended_at"]].rename(ended_at="value"), space), ended
    )
    assert store is None or not (store / "lanes").exists()


@laws
@given(space=spaces())
def test_groups_divide_the_lanes_of_any_space(space):
    seen = []
    for group in space.groups():
        positions = np.arange(group.rows.size)
        index = group.rows.at(positions)
        seen += index.tolist()
        np.testing.assert_array_equal(group.rows.find(index), positions)
        others = np.setdiff1d(np.arange(-2, space.size + 2), index)
        assert (group.rows.find(others) == -1).all()
        lane = space.lane(int(index[-1]))
        assert set(lane) == {*group.static, *group.names}
        for name in group.names:
            last = jax.tree.map(lambda leaf: leaf[-1], space.take(index)[name])
            jax.tree.map(np.testing.assert_array_equal, last, lane[name])
    assert sorted(seen) == list(range(space.size))


@laws
@given(space=spaces())
def test_any_space_survives_json(space):
    again, index = from_json(to_json(space)), np.arange(space.size)
    for name, column in space.labels(index).items():
        np.testing.assert_array_equal(again.labels(index)[name], column)
    assert [g.labels for g in space.groups()] == [g.labels for g in again.groups()]


@laws
@given(first=spaces(), second=spaces())
def test_lanes_have_one_hash_exactly_if_they_have_the_same_arguments(first, second):
    lanes = {}
    for space in (first, second):
        labels = space.labels(np.arange(space.size))
        hashes = map(tuple, hash_lanes(space, digest_labels(space), block=7).tolist())
        for index, (lane, words) in enumerate(zip(space, hashes, strict=True)):
            arguments = {name: lane[name] for name in (*TRACED, *STATIC) if name in lane}
            if "rows" in lane:
                content = [np.ravel(leaf).tolist() for leaf in jax.tree.leaves(lane["rows"])]
                arguments["rows"] = (str(labels["rows"][index]), str(content))
            same = frozenset(arguments.items())
            assert lanes.setdefault(words, same) == same
    assert len(set(lanes.values())) == len(lanes)
