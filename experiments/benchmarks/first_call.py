"""Whole calls, in a fresh process and again in it: `jm.sweep` as it comes, and other ways to run.

Question: what does ``jm.sweep(fn, space)`` cost, with the compiling and the search for a width
included, beside the best of fixed widths, lanes last, lanes in turn, the bare ``jit(vmap(fn))``,
and a loop over a jitted run, on functions of many kinds?

Every candidate runs in a process of its own, without a compilation cache on disk and without
anything remembered. There the first call is timed from handing over the function to having all
results on the host, and so is a second one. The table has the seconds of `jm.sweep` with "auto",
those of the best other candidate, and their ratio. A candidate is given up where it takes much
longer than the best one so far. For networks, a second table has the operations in products of
matrices that "auto" does in a second, as a share of the rate of one large product, measured in the
same run.

Answer: the table that it prints, for the machine on which it runs; docs/sweeps.md says what "auto"
does.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import jaxmom as jm
from experiments import command
from experiments.benchmarks.workloads import WORKLOADS, Workload, make_workload

Choice: TypeAlias = dict[str, Any]  # the width, and of sweeps the options
Arrays: TypeAlias = dict[str, np.ndarray]  # results by name, [lanes]

AUTO, LOOP = "jm.sweep, auto", "loop over a jitted run"
# What a sweep is called with in a candidate "jm.sweep, width 256", and what follows there.
PROGRAMS: dict[str, dict[str, Any] | None] = {
    "": None,
    ", lanes last": {"lanes_last": 1},
    ", lanes last, unrolled": {"lanes_last": 4},
    ", in turn": {"in_turn": True},
}
_START_SECONDS, _HOPELESS = 10.0, 1.5  # for imports; multiples of the best that are waited for
RESULTS = pathlib.Path(__file__).parent / "results"


def list_candidates(workload: Workload) -> list[str]:
    """Return the names of all ways to run a workload; "auto" is the first."""
    widths = dict.fromkeys(min(width, workload.lanes) for width in workload.widths)
    *others, in_turn = PROGRAMS
    programs = others if workload.can_be_last else [""]
    swept = [f"jm.sweep, width {width}{name}" for name in programs for width in widths]
    if not workload.can_be_last:
        swept.append(f"jm.sweep, width {min(widths)}{in_turn}")  # width makes no difference
    return [AUTO, *swept, *(f"jit(vmap), width {width}" for width in widths), LOOP]


def make_call(candidate: str, workload: Workload) -> Callable[[], tuple[Choice, Arrays]]:
    """Return a call of a candidate, which returns what it chose and the results of all lanes.

    The first call compiles; later ones do again what a user's second call would.
    """
    if candidate == AUTO:
        return lambda: run_sweep(workload, "auto", None)
    if candidate == LOOP:
        program = jax.jit(lambda lane: workload.fn(**lane))
        return lambda: ({"width": 1}, run_chunks(program, workload, None))
    way, _, rest = candidate.partition(", width ")
    digits, comma, name = rest.partition(", ")
    width = min(int(digits), workload.lanes)
    if way == "jm.sweep":
        return lambda: run_sweep(workload, width, PROGRAMS[comma + name])
    mapped = jax.jit(jax.vmap(lambda lane: workload.fn(**lane)))
    return lambda: ({"width": width}, run_chunks(mapped, workload, width))


def run_sweep(workload: Workload, width: int | str, options: Any) -> tuple[Choice, Arrays]:
    """Return the choice and the results of a sweep, and its seconds without compiling."""
    space = jm.paired(**workload.columns)
    runs = jm.sweep(workload.fn, space, width=width, options=options, progress=False)
    chosen = {"width": runs.attrs["width"], "options": json.loads(runs.attrs["options"])}
    chosen["running"] = runs.attrs["seconds"] - runs.attrs["compile_seconds"]
    return chosen, {name: runs[name].values for name in runs.data_vars}


def run_chunks(program: Callable[..., Any], workload: Workload, width: int | None) -> Arrays:
    """Return the results of all lanes, so many at a time, or one by one as scalars."""
    size = width or 1
    count = -(-workload.lanes // size)
    columns = {n: np.resize(column, count * size) for n, column in workload.columns.items()}
    pieces, in_flight = [], None
    for number in range(count):
        part = number if width is None else slice(number * size, (number + 1) * size)
        chunk = program({name: column[part] for name, column in columns.items()})
        if in_flight is not None:
            pieces.append(jax.tree.map(np.asarray, in_flight))
        in_flight = chunk
    pieces.append(jax.tree.map(np.asarray, in_flight))
    join = np.stack if width is None else np.concatenate
    return jax.tree.map(lambda *parts: join(parts)[: workload.lanes], *pieces)


def time_candidate(name: str, size: str, candidate: str) -> dict[str, Any]:
    """Return the seconds of the first call and of a second one in this process."""
    call = make_call(candidate, make_workload(name, size))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        chosen, _ = call()
        seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "again": seconds[1], **chosen}


def run_fresh(
    name: str, size: str, candidate: str, devices: int, limit: float
) -> dict[str, Any] | None:
    """Return what `time_candidate` measures in a fresh process, or None past the limit."""
    worker = [sys.executable, "-m", __spec__.name if __spec__ else __name__]
    worker += ["--size", size, "--devices", str(devices), "--worker", name, candidate]
    with tempfile.TemporaryDirectory() as remembered:
        kept = {n: v for n, v in os.environ.items() if n != "JAX_COMPILATION_CACHE_DIR"}
        environment = kept | {"JAXMOM_CACHE_DIR": remembered}
        try:
            done = subprocess.run(
                worker, env=environment, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        raise RuntimeError(f"{candidate} of {name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_workload(
    name: str, size: str, devices: int, limit: float, only: list[str]
) -> dict[str, Any]:
    """Return the measurements of candidates by name, of all or of some; slow ones are None."""
    found: dict[str, Any] = {}
    for candidate in list_candidates(make_workload(name, size)):
        if only and candidate not in (AUTO, *only):
            continue
        both = [one["first"] + one["again"] for one in found.values() if one is not None]
        admitted = min([limit, *(_START_SECONDS + _HOPELESS * seconds for seconds in both)])
        found[candidate] = run_fresh(name, size, candidate, devices, admitted)
        if all(one is None for one in found.values()):
            raise RuntimeError(f"{name} takes longer than {limit:.0f} s; give a larger --limit.")
        taken = "too long" if found[candidate] is None else f"{found[candidate]['first']:.2f} s"
        print(f"  {name}, {candidate}: {taken}", file=sys.stderr, flush=True)
    return found


def measure_peak(size: int = 2048, rounds: int = 8) -> float:
    """Return the operations per second of a product of matrices in float32, on all cores.

    It is that of NumPy or of JAX, whichever is faster.

    Args:
      size: Rows and columns.
      rounds: Of which the best counts.
    """
    x = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    y, multiply = jnp.asarray(x), jax.jit(jnp.matmul)
    seconds = []
    for call in (lambda: x @ x, lambda: multiply(y, y).block_until_ready()):
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def keep_least(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the measurements of two runs of a workload, with the least seconds of each candidate.

    Args:
      before: Of the candidates by name, None where one took too long.
      after: Of some of the same candidates.
    """
    kept = dict(before)
    for name, new in after.items():
        old = kept.get(name)
        if old is None or new is None:
            kept[name] = old or new
        else:
            seconds = {n: min(old[n], new[n]) for n in ("first", "again", "running") if n in new}
            kept[name] = {**old, **seconds}
    return kept


def merge_contents(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of two files of results as one, with the least seconds and best peaks.

    Raises:
      ValueError: They are of different machines, versions or sizes.
    """
    for name in ("machine", "size"):
        if before[name] != after[name]:
            raise ValueError(
                f"these are results of {before[name]} and of {after[name]}; name another file."
            )
    results, peaks = dict(before["results"]), dict(before["peaks"])
    for name, found in after["results"].items():
        results[name] = keep_least(results.get(name, {}), found)
    for name, peak in after["peaks"].items():
        peaks[name] = max(peak, peaks.get(name, 0.0))
    operations = {**before["operations"], **after["operations"]}
    return {**after, "results": results, "operations": operations, "peaks": peaks}


def describe_machine(devices: int) -> dict[str, Any]:
    """Return the machine and the versions of a measurement."""
    packages = ("jax", "jaxlib", "jaxmom", "numpy")
    return {
        "machine": platform.machine(),
        "processor": read_processor(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": devices,
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def read_processor() -> str:
    """Return the name of the processor."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def format_choice(measured: dict[str, Any]) -> str:
    """Return the width and the options of ours that "auto" chose."""
    ours = {n: v for n, v in measured["options"].items() if not n.startswith("xla")}
    return ", ".join([str(measured["width"]), *(f"{name}={value}" for name, value in ours.items())])


def format_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| | auto, first call | best other | ratio | auto, again | best other | ratio "
        "| auto chose | loop |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        auto, cells = found[AUTO], []
        others = {n: m for n, m in found.items() if m is not None and n != AUTO}
        for which in ("first", "again"):
            cells.append(f"{auto[which]:.2f} s")
            if not others:
                cells += ["all others given up", "-"]
                continue
            best = min(others, key=lambda n: others[n][which])
            least = others[best][which]
            cells += [f"{least:.2f} s ({best})", f"{auto[which] / least:.2f}"]
        loop = found.get(LOOP)
        cells += [format_choice(auto), "-" if loop is None else f"{loop['first']:.1f} s"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def format_shares(content: dict[str, Any]) -> str:
    """Return which share of the rate of one large product "auto" reaches, as a table in Markdown.

    Args:
      content: Of the file of results.
    """
    lines = ["| | peak | first call | share | again | share | while it runs | share |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, operations in content["operations"].items():
        peak = content["peaks"][name]
        cells = [f"{peak / 1e9:.0f} GFLOP/s"]
        for which in ("first", "again", "running"):
            rate = operations / content["results"][name][AUTO][which]
            cells += [f"{rate / 1e9:.0f}", f"{rate / peak:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument("--only", choices=list(WORKLOADS), nargs="+", help="some workloads only")
    parser.add_argument("--candidates", nargs="+", default=[], help="only these beside auto")
    parser.add_argument("--quick", action="store_true", help="sizes that take a minute or two")
    parser.add_argument("--devices", type=int, default=1, help="CPU devices of each process")
    parser.add_argument(
        "--limit", type=float, default=300.0, help="seconds for each candidate at most"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="the file of the results, as JSON; one that exists keeps the least seconds of each",
    )
    parser.add_argument("--size", default="full", help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print the table, and keep the results."""
    options = parse_arguments()
    jax.config.update("jax_num_cpu_devices", options.devices)
    if options.worker:
        name, candidate = options.worker
        print(json.dumps(time_candidate(name, options.size, candidate)))
        return
    size = "quick" if options.quick else options.size
    names = options.only or list(WORKLOADS)
    totals = {n: w.lanes * w.operations for n in names for w in [make_workload(n, size)]}
    operations = {n: total for n, total in totals.items() if total}
    machine = describe_machine(options.devices)
    used = f"{machine['cores']}-cores-{options.devices}-device{'s' * (options.devices > 1)}"
    out = options.out or RESULTS / f"first_call-{size}-{used}.json"
    kept = {"machine": machine, "size": size, "results": {}, "operations": operations, "peaks": {}}
    if out.exists():  # what cannot be kept there is refused before it is measured
        kept = merge_contents(json.loads(out.read_text()), kept)
    before = measure_peak() if operations else 0.0
    results = {
        n: measure_workload(n, size, options.devices, options.limit, options.candidates)
        for n in names
    }
    peak = max(before, measure_peak()) if operations else 0.0
    found = {"results": results, "peaks": dict.fromkeys(operations, peak)}
    content = merge_contents(kept, {**kept, **found})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{machine['cores']} cores of {machine['processor']}, jax {machine['jax']}\n")
    print(format_table(content["results"]))
    if content["operations"]:
        print(f"\n{format_shares(content)}")
    print(f"\nkept in {out}; experiments.benchmarks.compare compares two such files")


if __name__ == "__main__":
    main()
