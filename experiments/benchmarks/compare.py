"""Two results of `experiments.benchmarks.first_call`, side by side.

Question: what became faster, and what slower, between two versions or machines?

Answer: a table with the seconds of both and their ratio, for each workload and candidate.
"""

import json
import pathlib
from typing import Any

from experiments import command


def compare_results(before: dict[str, Any], after: dict[str, Any], which: str) -> str:
    """Return a table in Markdown of what both have.

    Args:
      before: From the file of one run.
      after: From that of another.
      which: "first" or "again", for the first call in a process or a second one.
    """
    lines = ["| workload | candidate | before | after | ratio |", "|---|---|---|---|---|"]
    for name, found in after["results"].items():
        for candidate, measured in found.items():
            old = before["results"].get(name, {}).get(candidate)
            if old is not None and measured is not None:
                seconds = old[which], measured[which]
                cells = [name, candidate, *(f"{s:.2f} s" for s in seconds)]
                lines.append(f"| {' | '.join(cells)} | {seconds[1] / seconds[0]:.2f} |")
    return "\n".join(lines)


def describe_differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what the machines, versions and sizes do not share, a line each."""
    old, new = ({**one["machine"], "size": one["size"]} for one in (before, after))
    names = dict.fromkeys([*old, *new])
    return [f"{n}: {old.get(n)} -> {new.get(n)}" for n in names if old.get(n) != new.get(n)]


def main() -> None:
    """Print the comparison."""
    parser = command.make_parser(__spec__.name, __doc__)
    parser.add_argument("before", type=pathlib.Path, help="the file of one run")
    parser.add_argument("after", type=pathlib.Path, help="the file of another")
    parser.add_argument("--which", choices=["first", "again"], default="first", help="call")
    options = parser.parse_args()
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    for line in describe_differences(before, after):
        print(line)
    print(compare_results(before, after, options.which))


if __name__ == "__main__":
    main()
