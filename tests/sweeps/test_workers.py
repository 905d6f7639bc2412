"""What executors are asked: which chunk comes first, how many at a time, what travels."""

import concurrent.futures
import heapq
import time

import numpy as np
import pytest

from jaxmom.sweeps import grid, open_sweep, sweep
from jaxmom.sweeps.results.dataset import FAILED, OK
from jaxmom.sweeps.run.executors import count_workers
from jaxmom.sweeps.run.worker import run_chunk

SPACE = grid(x=np.arange(12.0))


def double(x):
    return {"y": 2 * x}


class Future:
    """The result of a call, and no way to ask for more."""

    def __init__(self, value):
        self.result = lambda: value


class Immediate:
    """An executor that makes each call at once."""

    def __init__(self, wrap=Future):
        self.wrap = wrap

    def submit(self, fn, *args):
        return self.wrap(fn(*args))


def test_futures_that_only_have_results_will_do():
    runs = sweep(double, SPACE, width=2, executor=Immediate())
    np.testing.assert_array_equal(runs.y, 2 * SPACE.take(np.arange(12))["x"])


class Simulated:
    """An executor in a time of its own, which passes while the driver waits.

    `busy` is the share of the workers' time that they had a task, until the last one was submitted.
    """

    def __init__(self, count, seconds):
        self._max_workers, self.seconds = count, seconds
        self.now, self.used, self.sent = 0.0, 0.0, 0
        self.waiting, self.running, self.finished = [], [], set()

    def submit(self, fn, *args):
        number, self.sent = self.sent, self.sent + 1
        self.waiting.append(number)
        self.give_out()
        self.busy = self.used / max(self._max_workers * self.now, 1e-9)
        return Simulated.Future(self, number, fn(*args))

    def give_out(self):
        while self.waiting and len(self.running) < self._max_workers:
            number = self.waiting.pop(0)
            heapq.heappush(self.running, (self.now + self.seconds(number), number))

    def pass_time(self):
        if not self.finished:
            before, (self.now, number) = self.now, self.running[0]
            self.used += len(self.running) * (self.now - before)
            heapq.heappop(self.running)
            self.finished.add(number)
            self.give_out()

    class Future:
        def __init__(self, executor, number, value):
            self.executor, self.number, self.value = executor, number, value

        def done(self):
            self.executor.pass_time()
            return self.number in self.executor.finished

        def result(self):
            self.executor.finished.remove(self.number)
            return self.value


def test_stragglers_leave_the_other_workers_busy():
    stragglers = range(0, 640, 80)
    executor = Simulated(64, lambda number: 10.0 if number in stragglers else 0.9 + number % 3 / 10)
    runs = sweep(double, grid(x=np.arange(1280.0)), width=1, executor=executor)
    np.testing.assert_array_equal(runs.y, 2 * np.arange(1280.0))
    assert executor.sent == 1280
    assert executor.busy > 0.95


def test_what_is_done_is_safe_while_the_first_chunk_still_runs(tmp_path):
    others, seen = 5, []

    class Held(concurrent.futures.ThreadPoolExecutor):
        sent = 0

        def submit(self, fn, *args):
            self.sent += 1
            return super().submit(self.hold if self.sent == 1 else fn, *args)

        def hold(self, *args):
            end = time.monotonic() + 60
            while len(list(tmp_path.glob("parts/*.npz"))) < others and time.monotonic() < end:
                time.sleep(0.01)
            seen.append(len(list(tmp_path.glob("parts/*.npz"))))
            return run_chunk(*args)

    with Held(2) as executor:
        runs = sweep(double, SPACE, width=2, store=tmp_path, executor=executor)
    assert seen == [others]
    assert (runs.status == OK).all()


@pytest.mark.parametrize(
    ("asked", "most"), [({}, 128), ({"workers": 3}, 6), ({"workers": np.int64(1)}, 2)]
)
def test_twice_as_many_chunks_as_workers_are_in_flight(asked, most):
    in_flight, seen = set(), []

    class Watched:
        def __init__(self, value):
            self.value = value
            in_flight.add(self)
            seen.append(len(in_flight))

        def result(self):
            in_flight.remove(self)
            return self.value

    sweep(double, grid(x=np.arange(200.0)), width=1, executor=Immediate(Watched), **asked)
    assert max(seen) == most


class Elsewhere(concurrent.futures.ThreadPoolExecutor):
    """Workers on a machine that has no file of the driver's; it counts what is sent."""

    def __init__(self, count, has_files):
        super().__init__(count)
        self.has_files, self.sent = has_files, []

    def submit(self, fn, payload, content, *args):
        self.sent.append(0 if content is None else len(content))
        payload = payload if self.has_files else payload._replace(path=f"{payload.path}-elsewhere")
        return super().submit(fn, payload, content, *args)


@pytest.mark.parametrize("has_files", [True, False])
def test_a_large_function_travels_once_to_each_worker(has_files):
    data = np.arange(50_000) + float(has_files)  # 400 kB, in no other function

    def fn(x, word):
        return {"y": x * data[1:3].sum() + len(word)}

    space = grid(word=["", "a", "bcd"], x=np.arange(20.0))  # in groups that share the data
    with Elsewhere(2, has_files) as executor:
        runs = sweep(fn, space, width=2, executor=executor)
    expected = np.array([[0], [1], [3]]) + np.arange(20.0) * data[1:3].sum()
    np.testing.assert_array_equal(runs.y, expected)
    assert sum(size > data.nbytes for size in executor.sent) <= (0 if has_files else 2)
    assert sum(executor.sent) <= (0 if has_files else 2.1 * data.nbytes)


def test_a_cancel_that_fails_does_not_hide_the_error():
    class Uncancellable(concurrent.futures.Future):
        def cancel(self):
            raise NotImplementedError("cancel")

    class Failing:
        def submit(self, fn, *args):
            future = Uncancellable()
            future.set_exception(ArithmeticError("the true error"))
            return future

    with pytest.raises(ArithmeticError, match="the true error"):
        sweep(double, SPACE, width=2, executor=Failing())


@pytest.mark.parametrize("how", ["result", "submit", "cancelled"])
def test_an_executor_that_dies_ends_the_sweep_and_no_lane_has_failed(tmp_path, how):
    class Dying:
        left = 3

        def submit(self, fn, *args):
            future, self.left = concurrent.futures.Future(), self.left - 1
            if self.left >= 0:
                future.set_result(fn(*args))
            elif how == "submit":
                raise RuntimeError("cannot schedule new futures after shutdown")
            elif how == "cancelled":
                future.cancel()
            else:
                future.set_exception(concurrent.futures.BrokenExecutor("a worker died"))
            return future

    ended = concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError
    with pytest.raises(ended) as caught:
        sweep(double, SPACE, width=2, store=tmp_path, executor=Dying(), on_error="record")
    assert "3 of 6 chunks are done" in caught.value.__notes__[-1]
    assert "start another one" in caught.value.__notes__[-1]
    status = open_sweep(tmp_path).status.values
    assert (status == OK).sum() == 6
    assert not (status == FAILED).any()
    runs = sweep(double, SPACE, width=2, store=tmp_path, executor=Immediate())
    assert (runs.status == OK).all()


REFUSED = {
    "no executor": ({"executor": 4}, "executor is a concurrent.futures.Executor"),
    "a string": ({"executor": "dask"}, "executor is a concurrent.futures.Executor"),
    "no workers": ({"executor": Immediate(), "workers": 0}, "workers is a positive number"),
    "half a worker": ({"executor": Immediate(), "workers": 1.5}, "workers is a positive number"),
    "no number": ({"executor": Immediate(), "workers": True}, "workers is a positive number"),
    "workers of none": ({"workers": 2}, "workers are those of an executor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_executors_are_checked_before_anything_runs(name):
    given, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        sweep(lambda x: 1 / 0, SPACE, width=2, **given)


def test_pools_tell_how_many_workers_they_have():
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        assert count_workers(executor) == 3
    assert count_workers(Immediate()) == 64


def test_a_client_stands_for_its_executor():
    class Client:
        def get_executor(self):
            return Immediate()

    runs = sweep(double, SPACE, width=2, executor=Client())
    assert (runs.status == OK).all()
    assert runs.attrs["device"] == "workers of Immediate"
