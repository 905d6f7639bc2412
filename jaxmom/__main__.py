"""``python -m jaxmom``: inspect, verify and export sweep stores."""

import sys

from jaxmom.cli import main

if __name__ == "__main__":
    sys.exit(main())
