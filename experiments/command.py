"""What the experiments share: a command line made of a Config, and where the results go."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")


def option(default: Any, describe: str) -> Any:
    """A field of a Config, with what `--help` says of it."""
    return dataclasses.field(default=default, metadata={"help": describe})


def run(
    module: str,
    doc: str,
    config: type,
    compute: Callable[[Any], Any],
    draw: Callable[[Any], Any],
    report: Callable[[Any], str],
) -> None:
    """Compute, say what was found, and write a figure and a netCDF file.

    Args:
        module: the name of the experiment, after which files are named.
        doc: its docstring, whose first line and answer `--help` shows.
        config: a dataclass of options.
        compute: config -> xarray.Dataset.
        draw: dataset -> matplotlib Figure.
        report: dataset -> text.
    """
    name = module.rpartition(".")[2]
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in dataclasses.fields(config):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']} (default: {field.default})",
        )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("results") / name, help="folder"
    )
    options = vars(parser.parse_args())
    folder = options.pop("output")
    jax.config.update("jax_enable_x64", True)
    with contextlib.suppress(RuntimeError):  # where JAX has its devices already, it keeps them
        jax.config.update("jax_num_cpu_devices", os.cpu_count())  # for sweeps to use all cores
    dataset = compute(config(**options))
    print(report(dataset))
    folder.mkdir(parents=True, exist_ok=True)
    figure, data = folder / f"{name}.png", folder / f"{name}.nc"
    draw(dataset).savefig(figure, dpi=200)
    dataset.to_netcdf(data, engine="h5netcdf")
    print(f"\nwrote {figure}\nwrote {data}")
