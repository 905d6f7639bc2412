"""Filters from kernels: the coefficients whose weights of past gradients are nearest to given ones.

The kernel of a filter is a sum of exponentials, ``w_k = sum_i c_i d_i^k``. Given decays, the best
weights c are a linear problem; so only the decays are searched for (variable projection, Golub and
Pereyra 1973), from two starts: the decays that a sum of exponentials has exactly (the matrix pencil
of Hua and Sarkar 1990), and decays whose memories are evenly spaced in their logarithm.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import NDArray

from jaxmom._values import as_count
from jaxmom.filters import Coefficients, reading_new

_Floats = NDArray[np.floating]


def fit_kernel(
    weights: Any, buffers: int, *, nonnegative: bool = False, tolerance: float | None = None
) -> Coefficients:
    """Return the filter whose kernel is nearest to given weights of past gradients.

    ``w_k ~ sum_i c_i d_i^k``: each buffer is a sum ``m_i <- d_i m_i + g``, and the update is
    ``sum_i c_i m_i``. The sum of squared errors is the smallest that a search from several
    starts finds. `kernel_error` measures what is left, and `tolerance` refuses a poor fit.

    Decays are real, so that the filter fits parameters of any kind. A sum of real exponentials
    decays, or changes its sign at every lag. A kernel that oscillates more slowly, as that of
    `complex_momentum` does, is missed by a third of its weights or more.

    Args:
      weights: w [lags], of the gradient of k = 0, 1 ... steps ago; at least one of them not zero.
      buffers: How many exponentials, at most half as many as there are weights. Fewer are used (the
        others have coefficients of zero) if they do as well.
      nonnegative: Admit only decays in [0, 1] and c >= 0: a mixture of averages. Otherwise decays
        are in [-1, 1], and c has any sign.
      tolerance: The largest admissible `kernel_error`.

    Returns:
      `Coefficients` with ``decay`` d, ``gain`` 1 and ``read_new`` c, each [buffers], the longest
      memory first.

    Raises:
      ValueError: The weights are not a vector of finite numbers, there are too few of them for so
        many buffers, or the error exceeds `tolerance`.
      TypeError: The weights are traced.

    Source:
      Hua and Sarkar 1990 (IEEE Trans. ASSP 38(5)) and Golub and Pereyra 1973 (SIAM J. Numer. Anal.
      10(2)), for the two parts of the search.

    Example:
      >>> import numpy as np, jaxmom as jm
      >>> k = np.arange(50)
      >>> c = jm.fit_kernel(0.3 * 0.9**k + 0.5**k, buffers=2)
      >>> print(np.round(c.decay, 6), np.round(c.read_new, 6))
      [0.9 0.5] [0.3 1. ]
    """
    w = _check_weights(weights, buffers)
    size = float(np.max(np.abs(w)))
    lower = 0.0 if nonnegative else -1.0
    starts = [_pencil_decays(w / size, buffers), _spread_decays(len(w), buffers)]
    fits = [_refine(w / size, np.clip(start, lower, 1.0), lower) for start in starts]
    # A sum of a few exponentials has no use for more of them.
    missed = [error if error > 1e-20 else 0.0 for error, _, _ in fits]
    _, decay, read = fits[int(np.argmin(missed))]
    found, error = _round(w, size * read, decay, lower, buffers)
    if tolerance is not None and not error <= tolerance:
        swings = np.sum(np.diff(np.sign(w[w != 0])) != 0) > buffers
        raise ValueError(
            f"the nearest kernel of {buffers} buffers is off by {error:.2g} of the weights, more "
            f"than tolerance = {tolerance}; give more buffers"
            + (", or nonnegative=False." if nonnegative else ".")
            + (" Real decays cannot follow weights that oscillate." if swings else "")
        )
    return found


def kernel_error(coefficients: Coefficients, weights: Any) -> float:
    """Return how far a filter's kernel is from given weights: ``sum |w - w_filter| / sum |w|``.

    Args:
      coefficients: Constant `Coefficients`.
      weights: w [lags].

    Example:
      >>> import jaxmom as jm
      >>> jm.kernel_error(jm.coefficients.heavy_ball(beta=0.5), [1.0, 0.5, 0.0])
      0.16666666666666666
    """
    w = _as_vector(weights)
    c = coefficients.reading_old()
    decay, gain = np.asarray(c.decay, float), np.asarray(c.gain, float)
    read = np.zeros_like(decay) if c.read is None else np.asarray(c.read, float)
    later = (read * gain) @ _powers(decay, len(w) - 1)
    kernel = np.append(0.0 if c.direct is None else np.asarray(c.direct, float), later)
    return float(np.sum(np.abs(w - kernel)) / np.sum(np.abs(w)))


def _round(
    w: _Floats, read: _Floats, decay: _Floats, lower: float, buffers: int
) -> tuple[Coefficients, float]:
    """Return the filter in the floats of JAX, and its error.

    Large weights that nearly cancel no longer do so once rounded: then smaller weights,
    which would miss more if they were exact, are nearer.
    """
    found = _as_filter(decay, read, buffers)
    error = kernel_error(found, w)
    decay = np.asarray(jnp.asarray(decay, float), float)  # as the filter will have them
    exponents = np.linspace(1.0, 0.1, 19 if lower < 0 else 1)  # those of one sign do not cancel
    for cutoff in float(jnp.finfo(float).eps) ** exponents:
        other = _as_filter(decay, _project(w, decay, lower, cutoff)[0], buffers)
        if (missed := kernel_error(other, w)) < 0.9 * error:
            found, error = other, missed
    return found, error


def _as_filter(decay: _Floats, read: _Floats, buffers: int) -> Coefficients:
    """Return the filter, the longest memory first, with zeros for unused buffers."""
    used = read != 0
    order = np.argsort(-np.abs(decay[used]), kind="stable")
    parts = (decay[used][order], np.ones(np.sum(used)), read[used][order])
    return reading_new(*(np.append(part, np.zeros(buffers - np.sum(used))) for part in parts))


def _refine(w: _Floats, start: _Floats, lower: float) -> tuple[float, _Floats, _Floats]:
    """Return (error, decays, weights) of the best fit that a search from these decays finds."""
    from scipy.optimize import least_squares

    # Near 1 the memory 1 / (1 - d) counts: its logarithm is searched over.
    bounds = np.log([_SHORTEST_GAP, 1 - lower])
    search = np.clip(np.log(np.maximum(1 - start, _SHORTEST_GAP)), *bounds)
    lags = len(w)

    def residuals(x: _Floats) -> _Floats:
        return _project(w, 1 - np.exp(x), lower)[1]

    def find_slopes(x: _Floats) -> _Floats:
        """Kaufman's Jacobian: how the powers turn, without what new weights would undo."""
        decay = 1 - np.exp(x)
        read, _ = _project(w, decay, lower)
        turned = (np.arange(lags) * _powers(decay, lags, -1) * (-np.exp(x) * read)[:, None]).T
        basis, _ = np.linalg.qr(_powers(decay, lags)[read != 0].T)
        return turned - basis @ (basis.T @ turned)

    slopes: Any = find_slopes  # which the types of SciPy do not admit
    limits = (bounds[0] - 1e-9, bounds[1] + 1e-9)
    found = least_squares(
        residuals, search, slopes, bounds=limits, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=300
    )
    gap = np.exp(found.x)
    decay = np.where(gap > 2 * _SHORTEST_GAP, np.maximum(1 - gap, lower), 1.0)
    read, missed = _project(w, decay, lower)
    return float(missed @ missed), decay, read


_SHORTEST_GAP = 1e-14  # the least 1 - d: nothing is forgotten within any number of lags


def _project(
    w: _Floats, decay: _Floats, lower: float, cutoff: float = 1e-14
) -> tuple[_Floats, _Floats]:
    """Return the best weights of powers of these decays, and what they miss."""
    from scipy.optimize import lsq_linear

    powers = _powers(decay, len(w)).T
    if lower >= 0:
        basis, small = np.linalg.qr(powers)  # as many equations as there are weights
        read = lsq_linear(small, basis.T @ w, (0, np.inf), method="bvls", tol=1e-15).x
        read = np.where(read > 1e-15, read, 0)  # bounds are met up to rounding
    else:
        read = np.linalg.lstsq(powers, w, rcond=cutoff)[0]
    return read, powers @ read - w


def _powers(decay: _Floats, lags: int, shift: int = 0) -> _Floats:
    """Return ``decay^(k + shift)`` [buffers, lags]; exponents below zero count as zero."""
    return decay[:, None] ** np.maximum(np.arange(lags) + shift, 0)


def _pencil_decays(w: _Floats, buffers: int) -> _Floats:
    """Return the decays of which w is a sum of exponentials, or nearly; at most so many.

    Windows of w are combinations of the same exponentials, and each window is the one before with
    every exponential times its decay: the decays are the eigenvalues of that map.
    """
    from scipy.linalg import hankel

    window = min(len(w) // 2, 200) + 1
    windows = hankel(w[: len(w) - window + 1], w[len(w) - window :])
    _, sizes, rows = np.linalg.svd(windows, full_matrices=False)
    rank = max(1, min(buffers, int(np.sum(sizes > 1e-12 * sizes[0]))))
    rows = rows[:rank]
    shift = np.linalg.lstsq(rows[:, :-1].T, rows[:, 1:].T, rcond=None)[0]
    return np.linalg.eigvals(shift).real


def _spread_decays(lags: int, buffers: int) -> _Floats:
    """Return decays whose memories are evenly spaced, in logarithms, from 1 to the lags."""
    return 1 - 1 / np.geomspace(1.0, lags, buffers + 1)[:-1] if buffers > 1 else np.array([0.5])


def _check_weights(weights: Any, buffers: int) -> _Floats:
    buffers = as_count("buffers", buffers, "how many exponentials to use")
    w = _as_vector(weights)
    if len(w) < 2 * buffers:
        raise ValueError(
            f"{buffers} buffers have {2 * buffers} numbers to find, but there are only {len(w)} "
            "weights; give more lags, or fewer buffers."
        )
    return w


def _as_vector(weights: Any) -> _Floats:
    if isinstance(weights, Tracer):
        raise TypeError("a kernel is fitted to plain numbers; call this outside of jit and vmap.")
    w = np.asarray(weights)
    if w.ndim != 1 or not np.issubdtype(np.result_type(w, 0.0), np.floating):
        raise ValueError(f"weights is one vector of real numbers, got shape {w.shape}, {w.dtype}.")
    w = w.astype(np.float64)
    if not np.all(np.isfinite(w)) or not np.any(w):
        raise ValueError("weights are finite numbers, at least one of them not zero; got " + str(w))
    return w
