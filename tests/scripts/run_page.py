"""Run the Python of a page of docs in one namespace, smaller than it stands.

Each block has a folder of its own: two blocks may show two ways to one store.
"""

import os
import pathlib
import re
import sys
import tempfile
import textwrap

# What makes a run of the page short: fewer values of each axis, fewer seeds, shorter runs.
SMALLER = {
    r"\.points\(\d+\)": ".points(3)",
    r"range\((8|10|64)\)": "range(2)",
    r"\b500,\n": "100,\n",
    r"1000, every=100": "200, every=100",
    r"rungs=\[100, 100, 200\]": "rungs=[100, 100]",
    r"segments=\[100\] \* 20": "segments=[100] * 2",
    r"steps=200_000": "steps=2_000",
    r"logspace\(0, -2, 100\)": "logspace(0, -2, 4)",
    r"range\(20\)": "range(2)",
    r'Client\("tcp://scheduler:8786"\)': "Client(processes=False, dashboard_address=None)",
}


def main(page):
    text = pathlib.Path(page).read_text("utf8")
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", text, re.S | re.M)
    import matplotlib

    matplotlib.use("Agg")
    sys.argv, folder = [page], os.getcwd()
    names, ran, absent = {"__name__": "__main__"}, 0, set()
    for number, block in enumerate(blocks):
        code = textwrap.dedent(block)
        if code.startswith(">>>"):
            continue
        for pattern, small in SMALLER.items():
            code = re.sub(pattern, small, code)
        # A script that imports everything itself changes nothing for the blocks after it.
        is_script = number > 0 and re.search(r"^import jaxmom", code, re.M)
        os.chdir(tempfile.mkdtemp(dir=folder))
        try:
            exec(code, dict(names) if is_script else names)
            ran += 1
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] in ("experiments", "jaxmom"):
                raise
            absent.add(error.name)
    print(f"ran {ran} blocks; not installed: {sorted(absent)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
