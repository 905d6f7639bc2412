"""The command line of an experiment, made from its Config; and the files of its results."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import matplotlib
import xarray as xr
from matplotlib.figure import Figure

matplotlib.use("Agg")

Config: TypeAlias = Any  # a frozen dataclass whose fields are made by `option`
ComputeFn: TypeAlias = Callable[[Config], xr.Dataset]
DrawFn: TypeAlias = Callable[[xr.Dataset], Figure]
ReportFn: TypeAlias = Callable[[xr.Dataset], str]


def option(default: Any, description: str) -> Any:
    """Return a field of a Config, with its description for `--help`."""
    return dataclasses.field(default=default, metadata={"help": description})


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description, and adds defaults to options."""


def make_parser(module: str, doc: str) -> argparse.ArgumentParser:
    """Return the parser of a command whose `--help` shows the docstring of its module.

    Args:
      module: The dotted path that `python -m` runs.
      doc: The docstring.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=_HelpFormatter
    )


def run(
    module: str,
    doc: str,
    config: type[Config],
    compute: ComputeFn,
    draw: DrawFn,
    report: ReportFn,
) -> None:
    """Run an experiment: print its report, and write its figure and a netCDF file.

    Args:
      module: The name of the experiment's module, after which the files are named.
      doc: Its docstring, which `--help` shows.
      config: A dataclass of options.
      compute: Runs the experiment.
      draw: Draws the figure.
      report: Returns the table to print.
    """
    name = module.rpartition(".")[2]
    parser = make_parser(f"experiments.{name}", doc)
    for field in dataclasses.fields(config):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=field.metadata["help"],
        )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("results") / name,
        help="folder of the results",
    )
    options = vars(parser.parse_args())
    folder = options.pop("output")
    jax.config.update("jax_enable_x64", True)
    with contextlib.suppress(RuntimeError):  # JAX keeps devices that it has already
        jax.config.update("jax_num_cpu_devices", os.cpu_count())  # a device for each core
    dataset = compute(config(**options))
    print(report(dataset))
    folder.mkdir(parents=True, exist_ok=True)
    figure, data = folder / f"{name}.png", folder / f"{name}.nc"
    draw(dataset).savefig(figure, dpi=200)
    dataset.to_netcdf(data, engine="h5netcdf")
    print(f"\nwrote {figure}\nwrote {data}")
