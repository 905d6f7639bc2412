"""Whole calls, in a fresh process and again in it: `jm.sweep` as it comes, and other ways to run.

Question: what does ``jm.sweep(fn, space)`` cost, with the compiling and the search for a width
included, beside the best of fixed widths, of the bare ``jit(vmap(fn))``, and of a loop over a
jitted run, on functions of many kinds?

Every candidate runs in a process of its own, without a compilation cache on disk and without
anything remembered. There the first call is timed from handing over the function to having all
results on the host, and so is a second one. The table has the seconds of `jm.sweep` with "auto" as
multiples of the best candidate. A candidate is given up where it takes several times as long as the
best one so far.

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
import numpy as np

import jaxmom as jm
from experiments import command
from experiments.benchmarks.workloads import WORKLOADS, Workload, make_workload

WIDTHS = (4, 16, 64, 256)
Choice: TypeAlias = dict[str, Any]  # the width, and of sweeps the options
Arrays: TypeAlias = dict[str, np.ndarray]  # results by name, [lanes]

AUTO, LOOP = "jm.sweep, auto", "loop over a jitted run"
CANDIDATES = (
    *(AUTO, *(f"jm.sweep, width {width}" for width in WIDTHS)),
    *(*(f"jit(vmap), width {width}" for width in WIDTHS), LOOP),
)
_START_SECONDS, _HOPELESS = 15.0, 3.0  # for imports; multiples of the best that are waited for
RESULTS = pathlib.Path(__file__).parent / "results"


def make_call(candidate: str, workload: Workload) -> Callable[[], tuple[Choice, Arrays]]:
    """Return a call of a candidate, which returns what it chose and the results of all lanes.

    The first call compiles; later ones do again what a user's second call would.
    """
    if candidate.startswith("jm.sweep"):
        width = "auto" if candidate == AUTO else min(int(candidate.split()[-1]), workload.lanes)
        return lambda: run_sweep(workload, width)
    if candidate == LOOP:
        program = jax.jit(lambda lane: workload.fn(**lane))
        return lambda: ({"width": 1}, run_chunks(program, workload, None))
    width = min(int(candidate.split()[-1]), workload.lanes)
    mapped = jax.jit(jax.vmap(lambda lane: workload.fn(**lane)))
    return lambda: ({"width": width}, run_chunks(mapped, workload, width))


def run_sweep(workload: Workload, width: Any) -> tuple[Choice, Arrays]:
    """Return the choice and the results of a sweep."""
    runs = jm.sweep(workload.fn, jm.paired(**workload.columns), width=width, progress=False)
    chosen = {"width": runs.attrs["width"], "options": json.loads(runs.attrs["options"])}
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


def measure_workload(name: str, size: str, devices: int, limit: float) -> dict[str, Any]:
    """Return the measurements of all candidates by name; slow ones are None."""
    found: dict[str, Any] = {}
    for candidate in CANDIDATES:
        both = [one["first"] + one["again"] for one in found.values() if one is not None]
        admitted = min([limit, *(_START_SECONDS + _HOPELESS * seconds for seconds in both)])
        found[candidate] = run_fresh(name, size, candidate, devices, admitted)
        if found[AUTO] is None:
            raise RuntimeError(f"{name} takes longer than {limit:.0f} s; give a larger --limit.")
        taken = "too long" if found[candidate] is None else f"{found[candidate]['first']:.2f} s"
        print(f"  {name}, {candidate}: {taken}", file=sys.stderr, flush=True)
    return found


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
            best = min(others, key=lambda n: others[n][which])
            least = others[best][which]
            cells += [f"{auto[which]:.2f} s", f"{least:.2f} s ({best})"]
            cells.append(f"{auto[which] / least:.2f}")
        loop = found[LOOP]
        cells += [format_choice(auto), "-" if loop is None else f"{loop['first']:.1f} s"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument("--only", choices=list(WORKLOADS), nargs="+", help="some workloads only")
    parser.add_argument("--quick", action="store_true", help="sizes that take a minute or two")
    parser.add_argument("--devices", type=int, default=1, help="CPU devices of each process")
    parser.add_argument(
        "--limit", type=float, default=300.0, help="seconds for each candidate at most"
    )
    parser.add_argument("--out", type=pathlib.Path, help="the file of the results, as JSON")
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
    results = {n: measure_workload(n, size, options.devices, options.limit) for n in names}
    machine = describe_machine(options.devices)
    out = options.out or RESULTS / f"first_call-{size}-{machine['cores']}-cores.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "size": size, "results": results}, indent=1))
    print(f"{machine['cores']} cores of {machine['processor']}, jax {machine['jax']}\n")
    print(format_table(results))
    print(f"\nkept in {out}; experiments.benchmarks.compare compares two such files")


if __name__ == "__main__":
    main()
