"""The command line: inspect, verify, export and explore sweep stores, and the playground."""

import argparse
import collections
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from jaxmom._version import __version__
from jaxmom.sweeps.store.export import FORMATS, export
from jaxmom.sweeps.store.extensions import Chunk, Extension, read_extensions
from jaxmom.sweeps.store.files import Damaged, Store
from jaxmom.sweeps.store.manifests import DamagedManifest

CommandFn: TypeAlias = Callable[[Store, argparse.Namespace], int]  # -> the exit status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 if all is well.

    ``status`` and ``verify`` return 1 if chunks are missing, damaged or failed, so that a script
    can wait for a sweep.

    Args:
      arguments: The command and its arguments; those of the command line by default.

    Returns:
      The exit status.

    Example:
      >>> main(["status", "no/such/folder"])
      there is no sweep in ...no/such/folder: it has no sweep.json
      2
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        if options.command == "playground":
            return _playground(options)
        store = Store(options.store)
        if not store.read_manifests():
            print(f"there is no sweep in {store.path}: it has no sweep.json")
            return 2
        return _COMMANDS[options.command](store, options)
    except DamagedManifest as error:
        print(error)
        return 2
    except (OSError, ValueError, ImportError, MemoryError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jaxmom", description=__doc__)
    parser.add_argument("--version", action="version", version=f"jaxmom {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, summary in (
        ("status", "how much of a sweep is done"),
        ("verify", "read every part and verify its checksum"),
        ("export", "write the sweep as one file (or folder) that other programs can read"),
        ("explore", "look at the sweep in a browser, on this machine only"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("store", help="the folder of the sweep")
        if name == "export":
            command.add_argument("--to", choices=list(FORMATS), default="netcdf")
            command.add_argument("--out", help="where to write it; beside the store by default")
        if name == "explore":
            fn = "the name of the swept function, for the calls that are shown"
            command.add_argument("--fn", default="train", help=fn)
            _add_server_options(command)
    summary = "look at a momentum method in a browser, on this machine only"
    _add_server_options(commands.add_parser("playground", help=summary, description=summary))
    return parser


def _add_server_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", type=int, default=5006, help="0 takes any free one")
    command.add_argument("--no-browser", action="store_true", help="print the address only")


def _status(store: Store, options: argparse.Namespace) -> int:
    """Count the parts by the names of the files alone."""
    is_complete = True
    for extension in read_extensions(store.read_manifests()):
        index, chunks = extension.extension_index, extension.chunks()
        names = store.list_parts(index)
        done = [chunk for chunk in chunks if chunk.name in names]
        lanes, total = (sum(chunk.lanes for chunk in some) for some in (done, chunks))
        title = f"extension {index}" if index else "sweep"
        print(
            f"{title}: {lanes:,} of {total:,} lanes, {len(done):,} of {len(chunks):,} chunks of "
            f"{extension.width}, {len(extension.rows)} groups"
        )
        for name, failure in store.read_failures(index).items():
            print(f"  chunk {name} failed {failure['attempts']} times: {failure['message']}")
        is_complete = is_complete and len(done) == len(chunks)
    return 0 if is_complete else 1


def _verify(store: Store, options: argparse.Namespace) -> int:
    """Read all parts."""
    counts: collections.Counter[str] = collections.Counter()
    for extension in read_extensions(store.read_manifests()):
        for chunk in extension.chunks():
            counts[_verify_chunk(store, extension, chunk)] += 1
    print(", ".join(f"{count:,} chunks {state}" for state, count in sorted(counts.items())))
    if counts["damaged"]:
        print("run the sweep again with this store: it computes the damaged chunks, and no others")
    return 0 if set(counts) <= {"whole"} else 1


def _verify_chunk(store: Store, extension: Extension, chunk: Chunk) -> str:
    """Return the state of a chunk, in a word."""
    try:
        store.read_part(extension.extension_index, chunk.name, extension.digest)
        return "whole"
    except FileNotFoundError:
        return "missing"
    except Damaged as error:
        print(error)
        return "damaged"


def _export(store: Store, options: argparse.Namespace) -> int:
    print(export(store, options.to, options.out))
    return 0


def _explore(store: Store, options: argparse.Namespace) -> int:
    from jaxmom.explorer import explore
    from jaxmom.explorer.serve import serve

    explore(store.path, fn=options.fn)  # refuses a sweep that cannot be shown before it listens
    title = f"jaxmom: {store.path.name}"
    browser = not options.no_browser
    serve(lambda: explore(store.path, fn=options.fn), title, port=options.port, browser=browser)
    return 0


def _playground(options: argparse.Namespace) -> int:
    from jaxmom.explorer import playground
    from jaxmom.explorer.serve import serve

    playground().open_session()  # compiles the first method before a browser waits for it
    title, browser = "jaxmom: the playground of momentum", not options.no_browser
    serve(playground, title, port=options.port, browser=browser)
    return 0


_COMMANDS: dict[str, CommandFn] = {
    "status": _status,
    "verify": _verify,
    "export": _export,
    "explore": _explore,
}
