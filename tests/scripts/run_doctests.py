"""Run the doctests of a page with the defaults of JAX, and warnings as errors."""

import doctest
import sys
import warnings

warnings.simplefilter("error")
results = doctest.testfile(
    sys.argv[1],
    module_relative=False,
    optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
)
print(results)
sys.exit(results.failed > 0)
