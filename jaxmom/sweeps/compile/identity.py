"""What makes two sweeps the same, bit for bit, and a difference in words where they are not."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxmom.sweeps.compile.program import TracedGroup
from jaxmom.sweeps.space.serialize import label_digests, to_json
from jaxmom.sweeps.space.space import Space

Identity = dict[str, Any]

_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)


def identity(
    space: Space, width: int, lanes: Sequence[TracedGroup], options: Mapping[str, Any], backend: str
) -> Identity:
    """All that the bits of a result depend on; the number of devices and workers is not in it."""
    return {
        "space": to_json(space),
        "labels": label_digests(space),
        "programs": {group_label(group.group.labels): group.fingerprint for group in lanes},
        "width": width,
        "options": {name: str(value) for name, value in options.items()},
        "settings": settings(),
        "versions": versions(),
        "backend": backend,
    }


def digest(identity: Identity) -> str:
    """A short name of an identity, which every part of the sweep carries."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def settings() -> dict[str, Any]:
    """Those settings of JAX that change numbers."""
    return {name: getattr(jax.config, name) for name in _SETTINGS}


def versions() -> dict[str, str]:
    """The versions that bits depend on; another one is another compiler."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}


def provenance() -> dict[str, str]:
    """Where a result comes from, for those who read it later; nothing is compared with it."""
    packages = ("jaxmom", "jax", "jaxlib", "optax", "numpy", "xarray")
    told = {name: importlib.metadata.version(name) for name in packages}
    told["python"] = platform.python_version()
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return told | {"commit": run.stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return told


def group_label(labels: Mapping[str, Any]) -> str:
    """The name of a group, as in "nesterov=True, optimizer=sgd"."""
    return ", ".join(f"{name}={label}" for name, label in labels.items()) or "all lanes"


def difference(old: Identity, new: Identity) -> list[str]:
    """What has changed, a line for each field."""
    before, after = _flat(old), _flat(new)
    absent = "(nothing)"
    return [
        f"{name}: was {before.get(name, absent)}, is {after.get(name, absent)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _flat(identity: Identity) -> dict[str, str]:
    fields = {"width": str(identity["width"]), "backend": identity["backend"]}
    for table in ("settings", "versions", "options"):
        fields |= {f"{table}.{name}": str(value) for name, value in identity[table].items()}
    for label, fingerprint in identity["programs"].items():
        fields[f"function ({label})"] = fingerprint[:12]
    for label, content in identity["labels"].items():
        fields[f"values of {label}"] = content[:12]
    return fields | _flat_space("space", identity["space"])


def _flat_space(path: str, space: list[Any]) -> dict[str, str]:
    fields = {}
    for number, factor in enumerate(space):
        for index, inner in enumerate(factor.get("spaces", ())):
            fields |= _flat_space(f"{path}.{number}+{index}", inner)
        for axis in factor.get("axes", ()):
            fields[f"{path}.{axis['name']}"] = _told(axis["labels"])
        if factor["factor"] == "sample":
            for name, scale in factor["scales"].items():
                ends = f"{scale['kind']}({scale['low']}, {scale['high']})" if "low" in scale else ""
                fields[f"{path}.{name}"] = ends or _told(scale["labels"])
            drawn = f"{factor['count']} points by {factor['method']}, seed {factor['seed']}"
            fields[f"{path}.sample"] = drawn
        fields[f"{path}.{number}"] = factor["factor"] + " paired" * factor.get("paired", False)
    return fields


def _told(labels: Any) -> str:
    if isinstance(labels, list):
        return str(labels)
    content = hashlib.sha256(labels["base64"].encode()).hexdigest()[:8]
    return f"{labels['told']} ({labels['dtype']}, {content})"
