"""The command line: what is in the store of a sweep, is it whole, and as which file to have it."""

import argparse
import collections
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.reader import Extension, layers, open_sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 if all is well.

    ``status`` and ``verify`` are 1 if chunks are missing, damaged or failed, so that a script can
    wait for a sweep.

    Args:
      arguments: Those of the command line by default.

    Example:
      >>> main(["status", "no/such/folder"])
      there is no sweep in ...no/such/folder: it has no sweep.json
      2
    """
    options = _parser().parse_args(arguments)
    store = Store(options.store)
    try:
        manifests = store.manifests()
        if not manifests:
            print(f"there is no sweep in {store.path}: it has no sweep.json")
            return 2
        return _COMMANDS[options.command](store, options)
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m jaxmom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, told in (
        ("status", "how much of a sweep is done"),
        ("verify", "read every part and check its sum"),
        ("export", "write the sweep as one file (or folder) that others can read"),
    ):
        command = commands.add_parser(name, help=told, description=told)
        command.add_argument("store", help="the folder of the sweep")
        if name == "export":
            command.add_argument("--to", choices=list(_EXPORTS), default="netcdf")
            command.add_argument("--out", help="where to; beside the store by default")
    return parser


def _status(store: Store, options: argparse.Namespace) -> int:
    """Count what is there, by the names of the files alone."""
    whole = True
    for layer in layers(store.manifests()):
        chunks = {f"{number}-{chunk}": size for number, chunk, size in layer.chunks()}
        done = store.parts(layer.generation) & set(chunks)
        lanes, total = sum(chunks[name] for name in done), sum(chunks.values())
        name = f"extension {layer.generation}" if layer.generation else "sweep"
        print(
            f"{name}: {lanes:,} of {total:,} lanes, {len(done):,} of {len(chunks):,} chunks of "
            f"{layer.width}, {len(layer.rows)} groups"
        )
        for part, told in store.failures(layer.generation).items():
            print(f"  chunk {part} failed {told['attempts']} times: {told['message']}")
        whole = whole and len(done) == len(chunks)
    return 0 if whole else 1


def _verify(store: Store, options: argparse.Namespace) -> int:
    """Read all that is there."""
    counts: collections.Counter[str] = collections.Counter()
    for layer in layers(store.manifests()):
        for number, chunk, _ in layer.chunks():
            counts[_checked(store, layer, f"{number}-{chunk}")] += 1
    print(", ".join(f"{count:,} chunks {state}" for state, count in sorted(counts.items())))
    if counts["damaged"]:
        print("run the sweep again with this store: it computes the damaged chunks, and no others")
    return 0 if set(counts) <= {"whole"} else 1


def _checked(store: Store, layer: Extension, name: str) -> str:
    try:
        store.read_part(layer.generation, name, layer.digest)
        return "whole"
    except FileNotFoundError:
        return "missing"
    except Damaged as error:
        print(error)
        return "damaged"


def _export(store: Store, options: argparse.Namespace) -> int:
    """Write beside the target and rename, so that a file of that name is a whole one."""
    suffix, write = _EXPORTS[options.to]
    target = pathlib.Path(options.out or store.path.resolve().with_suffix(suffix))
    temporary = target.with_name(f".{target.name}.tmp")
    write(open_sweep(store.path), temporary)
    if target.is_dir():
        shutil.rmtree(target)
    temporary.replace(target)
    print(target)
    return 0


def _netcdf(data: Any, path: pathlib.Path) -> None:
    _needs("h5netcdf", "experiments")
    data.to_netcdf(path, engine="h5netcdf")


def _zarr(data: Any, path: pathlib.Path) -> None:
    _needs("zarr", "zarr")
    data.to_zarr(path, mode="w", consolidated=False)


def _parquet(data: Any, path: pathlib.Path) -> None:
    """A row for each lane and record."""
    _needs("pyarrow", "parquet")
    if not hasattr(data, "to_dataframe"):
        raise ValueError("a sweep whose groups have different outputs is no table; use netcdf.")
    data.to_dataframe().reset_index().to_parquet(path)


def _needs(package: str, extra: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        raise ValueError(f'this needs {package}: pip install "jaxmom[{extra}]"') from error


_COMMANDS: dict[str, Callable[[Store, argparse.Namespace], int]] = {
    "status": _status,
    "verify": _verify,
    "export": _export,
}
_EXPORTS: dict[str, tuple[str, Callable[[Any, pathlib.Path], None]]] = {
    "netcdf": (".nc", _netcdf),
    "zarr": (".zarr", _zarr),
    "parquet": (".parquet", _parquet),
}
