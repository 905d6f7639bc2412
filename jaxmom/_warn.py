"""Warnings that name a line of the user's code."""

import sys
import warnings


def warn(message: str) -> None:
    """Warn at the innermost line outside of this library that led here.

    Args:
      message: What was given, what happens, and what to do.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "jaxmom":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
