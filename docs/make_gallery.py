"""Make the pictures of the gallery: run experiments, and keep a small picture and what they print.

    python docs/make_gallery.py                     all, at full size: hours on two cores
    python docs/make_gallery.py beta_sweep ...      some
    python docs/make_gallery.py --results results   draw those anew whose files are there already

An experiment runs as its command does, into a folder of its own under `--results`. What is kept in
docs/gallery is the picture, 1,000 pixels wide, and a JSON file with the text that was printed, the
seconds, and the machine.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

import jax
import matplotlib
import matplotlib.pyplot as plt
import xarray as xr
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
NOT_EXPERIMENTS = {"__init__", "command"}
WIDTH = 1000


def list_experiments() -> list[str]:
    """Return the names of all experiments."""
    files = (ROOT / "experiments").glob("*.py")
    return sorted({file.stem for file in files} - NOT_EXPERIMENTS)


def run_experiment(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Run the command of an experiment, and return the seconds it took and the machine.

    The load is what else ran there, as a number of busy processes: beside it, seconds mean little.
    """
    began, load = time.perf_counter(), round(os.getloadavg()[0])
    command = [sys.executable, "-m", f"experiments.{name}", "--output", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    seconds = round(time.perf_counter() - began)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), jax {jax.__version__}"
    return {"seconds": seconds, "machine": machine, "load": load}


def keep_results(name: str, folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Draw the picture from the file of results, and write it and what the experiment prints."""
    experiment = importlib.import_module(f"experiments.{name}")
    with xr.open_dataset(folder / f"{name}.nc", engine="h5netcdf") as data:
        data.load()
    figure = experiment.draw(data)
    large = folder / f"{name}.png"
    figure.savefig(large, dpi=200)
    plt.close(figure)
    with Image.open(large) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(128, dither=Image.Dither.NONE).save(GALLERY / f"{name}.png", optimize=True)
    facts = {**facts, "printed": experiment.report(data)}
    (GALLERY / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", "utf8")


def main() -> None:
    """Run what has no results yet, and keep all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="experiments; all by default")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "results")
    options = parser.parse_args()
    known = list_experiments()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no experiment is called {', '.join(unknown)}; there are {', '.join(known)}")
    matplotlib.use("Agg")
    jax.config.update("jax_enable_x64", True)  # as the commands do
    sys.path.insert(0, str(ROOT))
    for name in options.names or known:
        folder, facts = options.results / name, GALLERY / f"{name}.json"
        if (folder / f"{name}.nc").exists():
            kept = json.loads(facts.read_text("utf8")) if facts.exists() else {}
        else:
            kept = run_experiment(name, folder)
        keep_results(name, folder, kept)
        print(f"kept {GALLERY / name}.png", flush=True)


if __name__ == "__main__":
    main()
