"""Run a sweep on a disk of 20 kB, twice; then make room, and compare with a sweep beside it."""

import subprocess
import sys

from workload import parts, run


def main(disk, beside):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20k", "none", disk], check=True)
    store = disk + "/store"
    for _ in range(2):  # the second time there is no room from the beginning
        try:
            run(store)
        except OSError as error:
            print(error.errno, len(parts(store)), error)
    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    run(store)
    run(beside)
    print(parts(store) == parts(beside))


if __name__ == "__main__":
    main(*sys.argv[1:])
