"""Go on in float32 with a sweep that was begun in float64."""

import sys

from jaxmom.sweeps import sweep


def main(store):
    from test_store import SPACE, train

    try:
        sweep(train, SPACE, store=store)
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
