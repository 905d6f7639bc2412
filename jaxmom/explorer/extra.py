"""The check that the optional packages of the explorer are there."""

import importlib.util


def require_extra(user: str) -> None:
    """Refuse to go on without Panel and Bokeh.

    Args:
      user: The function that needs them, as the message names it.

    Raises:
      ImportError: One of them is not installed.
    """
    lacking = [name for name in ("panel", "bokeh") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ImportError(
            f"{user} needs {' and '.join(lacking)}, which the extra `explore` installs: "
            'pip install "jaxmom[explore]".'
        )
