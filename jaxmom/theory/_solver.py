"""The solver of semidefinite programs: cvxpy with Clarabel, which come with an extra."""

import warnings
from typing import Any


def load_solver(purpose: str) -> Any:
    """Import cvxpy.

    Args:
      purpose: What needs it and the verb, as in "worst_case needs".

    Raises:
      ImportError: cvxpy or clarabel is missing, with the name of the extra.
    """
    try:
        import clarabel  # noqa: F401  # the solver, which cvxpy loads by name
        import cvxpy
    except ImportError as error:
        raise ImportError(f"{purpose} cvxpy and clarabel: pip install jaxmom[certify].") from error
    return cvxpy


def run_solver(problem: Any, **tolerances: float) -> Exception | None:
    """Solve a problem of cvxpy; return the error with which the solver ended, if it did."""
    import cvxpy

    try:
        with warnings.catch_warnings():  # an inaccurate solution is judged by its proof
            warnings.simplefilter("ignore")
            problem.solve(solver=cvxpy.CLARABEL, **tolerances)
    except cvxpy.SolverError as error:
        return error
    return None
