"""The check of an argument that is one of a few words."""

from collections.abc import Sequence


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
