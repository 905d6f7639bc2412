"""The identity of a sweep: everything its bits depend on, and a readable diff of two identities."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.experimental

from jaxmom.sweeps.compile.program import TracedGroup
from jaxmom.sweeps.space.groups import describe_arguments, label_group, label_groups
from jaxmom.sweeps.space.serialize import digest_labels, from_json, to_json
from jaxmom.sweeps.space.space import Space

Identity: TypeAlias = dict[str, Any]
ChangeKind: TypeAlias = Literal[
    "space", "function", "values", "width", "options", "settings", "versions", "backend"
]
_Field: TypeAlias = tuple[ChangeKind, str]

_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
GROUP_WIDTHS = "widths"  # the key of the widths of groups; older identities have none
_DEVICE = "jax_default_device"  # changes where numbers are computed, and no number


@dataclasses.dataclass(frozen=True)
class IdentityChange:
    """One field in which two identities differ.

    Attributes:
      kind: The part of the identity that has the field.
      name: The field within that part: an axis, a label, an option, a setting or a package; the
        kind itself where it is a single value.
      old: Its value before, as text; None if the field is new.
      new: Its value now; None if the field is gone.
    """

    kind: ChangeKind
    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        old, new = ("(nothing)" if text is None else text for text in (self.old, self.new))
        return f"{_field_title(self.kind, self.name)}: was {old}, is {new}"


def sweep_identity(
    space: Space,
    width: int,
    groups: Sequence[TracedGroup],
    options: Mapping[str, Any],
    backend: str,
    widths: Mapping[str, int] | None = None,
) -> Identity:
    """Return all that the bits of a result depend on, as JSON.

    The number of devices and workers is not part of it.

    Args:
      space: What is swept.
      width: Lanes at a time.
      groups: The traced groups of the space, in its order.
      options: Of the program, as for `jaxmom.sweep`.
      backend: The platform that computes.
      widths: Of each group, by its key; None if all have that of the sweep, as in stores that were
        written before small groups had a narrower one.
    """
    labels = label_groups([one.group for one in groups])
    programs = zip(labels, (one.fingerprint for one in groups), strict=True)
    identity = {
        "space": to_json(space),
        "labels": digest_labels(space),
        "programs": dict(programs),
        "width": width,
        "options": {name: str(value) for name, value in options.items()},
        "settings": read_settings(),
        "versions": read_versions(),
        "backend": backend,
    }
    return identity if widths is None else identity | {GROUP_WIDTHS: dict(widths)}


def digest_identity(identity: Identity) -> str:
    """Return a short name of an identity, which every part of the sweep carries.

    Args:
      identity: From `sweep_identity`.

    Returns:
      64 hexadecimal digits; equal identities have equal ones, whatever the order of their fields.
    """
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def diff_identities(old: Identity, new: Identity) -> list[IdentityChange]:
    """Return the fields in which two identities differ, in the order of their kinds.

    The width of a group has no field here: it follows from the space, the width and the options.

    Example:
      >>> import jaxmom as jm
      >>> space = jm.grid(a=[1.0, 2.0])
      >>> old = sweep_identity(space, 2, [], {"block": 1}, "cpu")
      >>> for change in diff_identities(old, sweep_identity(space, 4, [], {}, "cpu")):
      ...     print(change)
      width: was 2, is 4
      options.block: was 1, is (nothing)
    """
    if set(old["programs"]) != set(new["programs"]):
        old, new = _name_alike(old, new)
    before, after = _identity_fields(old), _identity_fields(new)
    return [
        IdentityChange(*field, before.get(field), after.get(field))
        for field in dict.fromkeys([*before, *after])
        if before.get(field) != after.get(field)
    ]


def read_settings() -> dict[str, Any]:
    """Return the settings of JAX that change numbers.

    They are those of this thread, which may differ from those of the process: whether floats have
    64 bits, the precision of products of matrices, and how random bits are made.
    """
    return {name: getattr(jax.config, name) for name in _SETTINGS}


def read_context() -> dict[str, Any]:
    """Return the settings of JAX that a thread may have for itself, for `apply_settings`."""
    return read_settings() | {_DEVICE: getattr(jax.config, _DEVICE)}


@contextlib.contextmanager
def apply_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Let settings hold in this thread alone, whatever those of the process are.

    Args:
      settings: From `read_settings` or `read_context`, perhaps of another process.

    Yields:
      Nothing; at the end the former settings hold again.
    """
    home: Any = jax if hasattr(jax, "enable_x64") else jax.experimental  # of early versions
    with contextlib.ExitStack() as stack:
        for name, value in settings.items():
            setting = getattr(home if name == "jax_enable_x64" else jax, name.removeprefix("jax_"))
            stack.enter_context(setting(value))
        yield


def read_versions() -> dict[str, str]:
    """Return the versions that bits depend on: another one is another compiler."""
    return {name: _read_version(name) for name in ("jax", "jaxlib")}


def collect_provenance() -> dict[str, str]:
    """Return where a result comes from, for its readers; no comparison uses it.

    Returns:
      The versions of packages and of Python, and the commit of the folder that the process runs in,
      if it is in a git repository.
    """
    packages = ("jaxmom", "jax", "jaxlib", "optax", "numpy", "xarray")
    provenance = {name: _read_version(name) for name in packages}
    provenance["python"] = platform.python_version()
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return provenance | {"commit": run.stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return provenance


@functools.cache
def _read_version(package: str) -> str:
    """Return the version of a package, which stays the same in a process.

    A package that is on the path and not installed, as from a checkout, has none: "not installed".
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _field_title(kind: ChangeKind, name: str) -> str:
    """Return the name of a field as a reader would say it, for a message."""
    if kind == "function":
        return f"function ({name})"
    if kind == "values":
        return f"values of {name}"
    return kind if kind == name else f"{kind}.{name}"


def _name_alike(*identities: Identity) -> list[Identity]:
    """Return identities whose programs have comparable names.

    Where a union has several groups of the same labels, their names contain their arguments: then
    all names do.
    """
    groups = [from_json(identity["space"]).groups() for identity in identities]
    if all(label_groups(own) == [*map(label_group, own)] for own in groups):
        return list(identities)
    named = []
    for identity, own in zip(identities, groups, strict=True):
        fingerprints = [identity["programs"].get(label, "(unknown)") for label in label_groups(own)]
        labels = [f"{label_group(group)} ({describe_arguments(group)})" for group in own]
        named.append(identity | {"programs": dict(zip(labels, fingerprints, strict=True))})
    return named


def _identity_fields(identity: Identity) -> dict[_Field, str]:
    """Return an identity as a flat table of readable values."""
    fields: dict[_Field, str] = {
        ("width", "width"): str(identity["width"]),
        ("backend", "backend"): identity["backend"],
    }
    tables: tuple[ChangeKind, ...] = ("settings", "versions", "options")
    for kind in tables:
        fields |= {(kind, name): str(value) for name, value in identity[kind].items()}
    for label, fingerprint in identity["programs"].items():
        fields["function", label] = fingerprint[:12]
    for label, content in identity["labels"].items():
        fields["values", label] = content[:12]
    has_own = GROUP_WIDTHS in identity
    fields["width", "groups"] = "their own" if has_own else "that of the sweep"
    for name, text in _space_fields(identity["space"]):
        fields["space", name] = text
    return fields


def _space_fields(spec: list[Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the axes, samples and components of a serialized space, with their dotted paths."""
    for number, component in enumerate(spec):
        for index, inner in enumerate(component.get("spaces", ())):
            yield from _space_fields(inner, f"{path}{number}+{index}.")
        for axis in component.get("axes", ()):
            yield f"{path}{axis['name']}", _describe_labels(axis["labels"])
        if component["factor"] == "sample":
            for name, scale in component["scales"].items():
                yield f"{path}{name}", _describe_scale(scale)
            drawn = f"{component['count']} points by {component['method']}"
            yield f"{path}sample", f"{drawn}, seed {component['seed']}"
        yield f"{path}{number}", component["factor"] + " paired" * component.get("paired", False)


def _describe_scale(scale: dict[str, Any]) -> str:
    """Return a scale of a sample in short: its kind with its ends, or its labels."""
    if "low" in scale:
        return f"{scale['kind']}({scale['low']}, {scale['high']})"
    return _describe_labels(scale["labels"])


def _describe_labels(labels: Any) -> str:
    """Return labels in full, or a digest of an array with what it is."""
    if isinstance(labels, list):
        return str(labels)
    content = hashlib.sha256(labels["base64"].encode()).hexdigest()[:8]
    return f"{labels['told']} ({labels['dtype']}, {content})"
