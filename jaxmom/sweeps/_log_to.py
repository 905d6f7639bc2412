"""Live metrics of a sweep for a writer such as TensorBoard's."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jaxmom._choices import check_flag
from jaxmom._outcomes import Status
from jaxmom.sweeps.results.summary import last_values
from jaxmom.sweeps.run.live import OnChunkFn, Progress

if TYPE_CHECKING:
    import xarray


class ScalarWriter(Protocol):
    """Anything with TensorBoard's `add_scalar`, such as its SummaryWriter and tensorboardX's."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Write a number at a step."""
        ...


def log_to(writer: ScalarWriter, value: str = "value", *, maximize: bool = False) -> OnChunkFn:
    """Return an ``on_chunk`` of `jaxmom.sweep` that writes to TensorBoard or the like.

    After each chunk it writes, with the number of lanes done as the step: ``<value>/best``, the
    best last value so far of the lanes that are ok; ``<value>/median``, that of this chunk;
    ``sweep/diverged``, the share of the lanes of this chunk that diverged; and
    ``sweep/lanes_per_second`` of this call. A number that no lane has is not written.

    Args:
      writer: Anything with ``add_scalar(tag, value, step)``, such as the SummaryWriter of PyTorch
        or tensorboardX. Flush and close it yourself.
      value: An output, one number for each lane and record.
      maximize: Whether large is good.

    Returns:
      ``on_chunk(dataset, progress)``.

    Raises:
      TypeError: `writer` has no `add_scalar`.
      ValueError: `value` is not a name, or `maximize` is not a truth value.

    Example:
      >>> import jaxmom as jm
      >>> class Printer:
      ...     def add_scalar(self, tag, value, step):
      ...         if tag.startswith("value"):
      ...             print(step, tag, round(value, 3))
      >>> def loss(beta):
      ...     return {"value": (beta - 0.5) ** 2}
      >>> runs = jm.sweep(loss, jm.grid(beta=[0.0, 0.4]), width=1, on_chunk=jm.log_to(Printer()))
      1 value/best 0.25
      1 value/median 0.25
      2 value/best 0.01
      2 value/median 0.01
    """
    if not callable(getattr(writer, "add_scalar", None)):
        raise TypeError(
            f"log_to needs a writer with add_scalar(tag, value, step), not {writer!r}; for another "
            "one, give jm.sweep a function on_chunk(dataset, progress) of your own."
        )
    if not isinstance(value, str):
        raise ValueError(f"value is the name of an output, not {value!r}.")
    check_flag("maximize", maximize)
    return _Logger(writer, value, -1.0 if maximize else 1.0)


@dataclasses.dataclass
class _Logger:
    writer: ScalarWriter
    value: str
    sign: float
    least: float = math.inf  # of the values times the sign
    lanes: int = 0  # of this call
    last: Progress | None = None

    def __call__(self, dataset: "xarray.Dataset", progress: Progress) -> None:
        status = dataset.status.values
        if self.last is not None and not _goes_on(self.last, progress, len(status)):
            self.least, self.lanes = math.inf, 0
        self.last = progress
        self.lanes += len(status)
        values = last_values(dataset, self.value).values
        values = values[(status == Status.OK) & np.isfinite(values)]
        self.least = min(self.least, float(np.min(self.sign * values, initial=math.inf)))
        if math.isfinite(self.least):
            self._write(f"{self.value}/best", self.sign * self.least, progress)
        if len(values):
            self._write(f"{self.value}/median", float(np.median(values)), progress)
        self._write("sweep/diverged", float(np.mean(status == Status.DIVERGED)), progress)
        if progress.seconds > 0:
            self._write("sweep/lanes_per_second", self.lanes / progress.seconds, progress)

    def _write(self, tag: str, number: float, progress: Progress) -> None:
        self.writer.add_scalar(tag, number, progress.lanes)


def _goes_on(last: Progress, progress: Progress, lanes: int) -> bool:
    """Whether a chunk of some lanes is the next one of the call that the last one was of."""
    is_next = progress.lanes == last.lanes + lanes and progress.total == last.total
    return is_next and progress.seconds >= last.seconds
