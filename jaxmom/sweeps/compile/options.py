"""The check of options before anything is traced: each is one of ours, or the compiler takes it."""

import difflib
from collections.abc import Mapping
from typing import Any

import jax
from jaxlib import xla_client

from jaxmom.sweeps.compile.batching import OPTIONS

_TAKEN: set[tuple[str, str, str]] = set()  # names, values and platforms that a compiler has taken


def check_options(options: Mapping[str, Any] | None, device: Any) -> None:
    """Refuse an option that neither we nor the compiler know.

    Only the compiler knows its options, so that each compiles a program of one number.

    Args:
      options: From `as_options`.
      device: To run on.

    Raises:
      ValueError: With the option, what the compiler says, and the name that is nearest.
    """
    for name, value in (options or {}).items():
        key = str(name), repr(value), device.platform
        if name in OPTIONS or key in _TAKEN:
            continue
        try:
            with jax.default_device(device):
                jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except (jax.errors.JaxRuntimeError, TypeError, ValueError) as error:
            problem = str(error).splitlines()[0] if isinstance(name, str) else "no name"
            raise ValueError(
                f"options has {name!r}: {value!r}, and jm.sweep has the options "
                f"{', '.join(map(repr, OPTIONS))}; all others go to the compiler, which does not "
                f"take it ({problem}).{_suggest(name)}"
            ) from None
        _TAKEN.add(key)


def _suggest(name: Any) -> str:
    """Return the sentence with the name that is nearest to one that nobody knows, or nothing."""
    debug: Any = xla_client.CompileOptions().executable_build_options.debug_options
    known = [*OPTIONS, *(one for one in dir(debug) if one.startswith("xla"))]
    nearest = difflib.get_close_matches(str(name), known, 1)
    return f" Did you mean {nearest[0]!r}?" if nearest and name not in known else ""
