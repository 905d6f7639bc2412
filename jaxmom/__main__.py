"""``python -m jaxmom``: look after the stores of sweeps."""

import sys

from jaxmom.cli import main

if __name__ == "__main__":
    sys.exit(main())
