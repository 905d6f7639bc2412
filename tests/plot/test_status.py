"""The codes of `status` are those of a sweep."""

import jaxmom as jm
from jaxmom.plot._shared import status as codes


def test_the_codes_are_those_of_a_sweep():
    runs = jm.sweep(lambda beta: {"value": beta}, jm.grid(beta=[0.0]), progress=False, width=1)
    names = dict(enumerate(codes.NAMES))
    attrs = runs.status.attrs
    assert dict(zip(attrs["flag_values"], attrs["flag_meanings"].split(), strict=True)) == names
