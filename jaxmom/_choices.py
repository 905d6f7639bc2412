"""Checks of arguments that are one of a few words, or a flag."""

from collections.abc import Sequence

import numpy as np


def check_choice(name: str, given: object, choices: Sequence[str]) -> None:
    """Refuse a word that an argument does not admit.

    Args:
      name: The name of the argument.
      given: Its value.
      choices: The words, such as the arguments of a ``Literal``.

    Raises:
      ValueError: It is none of them.

    Example:
      >>> check_choice("record", "grad", ("value", "eval_value"))
      Traceback (most recent call last):
      ...
      ValueError: record is one of 'value', 'eval_value'; got 'grad'.
    """
    if given not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}; got {given!r}.")


def check_flag(name: str, given: object) -> None:
    """Refuse what is not a truth value: to Python any string is true, even "no".

    Args:
      name: The name of the argument.
      given: Its value; a bool of Python or NumPy is admitted.

    Raises:
      ValueError: It is something else.

    Example:
      >>> check_flag("maximize", "no")
      Traceback (most recent call last):
      ...
      ValueError: maximize is True or False; got 'no'.
    """
    if not isinstance(given, bool | np.bool_):
        raise ValueError(f"{name} is True or False; got {given!r}.")
