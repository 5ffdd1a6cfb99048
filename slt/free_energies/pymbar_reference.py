"""MBAR by pymbar, the reference implementation, over draws of our ladders. The one file that imports pymbar."""

import logging
import math

import numpy as np

from samplers.errors import InputError
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.free_energies.methods import MAX_SAMPLES, Array, excess


def mbar_by_pymbar(v: Array, beta: Array) -> tuple[Array, Array]:
    """F (R + 1,) in nats at every rung, F[0] = 0, and its standard errors as if all draws were independent.

    `v` is V = n (L - L*) (replica, draw, R + 1), `beta` ascends from 0 (Shirts & Chodera 2008). Raises InputError where
    pymbar is not installed.
    """
    logger = logging.getLogger("pymbar")
    level, logger.level = logger.level, logging.ERROR  # it advertises JAX on import
    try:
        import pymbar
    except ImportError:
        raise InputError("pymbar is not installed: pip install 'slt-toolkit[mbar]'") from None
    finally:
        logger.level = level
    draws = v.shape[0] * v.shape[1]
    energy = np.concatenate([beta[:, None] * v[..., k].ravel() for k in range(len(beta))], axis=1)
    solver = pymbar.MBAR(energy, np.full(len(beta), draws), relative_tolerance=1e-12, solver_protocol="robust")
    return solver.f_k - solver.f_k[0], solver.compute_free_energy_differences()["dDelta_f"][0]


def check_with_pymbar(estimate: FreeEnergyEstimate) -> tuple[float, float]:
    """F at the top of an estimate's ladder by pymbar from the very draws, with its error, nats.

    pymbar takes draws for independent; its error is multiplied by the square root of draws over effective draws.
    Raises InputError where the estimate has no trace, or pymbar is not installed.
    """
    if estimate.trace is None:
        raise InputError("this estimate has no trace: save it under a name ending in .nc, which keeps it")
    v = excess(estimate.trace.kept(), estimate.center_loss, estimate.n)
    v = v[:, :: max(1, math.ceil(v.size / MAX_SAMPLES))]
    value, error = mbar_by_pymbar(v, estimate.trace.beta)
    return float(value[-1]), float(error[-1]) * math.sqrt(max(1.0, v.shape[0] * v.shape[1] / estimate.ess))
