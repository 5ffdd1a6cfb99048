"""Free energies along a ladder of temperatures: thermodynamic integration, stepping stone, MBAR. Arrays only.

Each method gives F at every rung together with its *influence series*: what each draw of each replica contributes to
the error of F, to first order. Rungs exchange states, so their draws are correlated; one series per replica keeps
those correlations, and its Monte Carlo error is that of F.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samplers.errors import InputError

Array = NDArray[np.float64]

HUGE = 1e100  # stands for a loss that overflowed: its weight is 0 at every β > 0, and its square is still a number
MAX_ITERATIONS = 200
TOLERANCE = 1e-10  # nats, of the MBAR equations
MAX_SAMPLES = 200_000  # that MBAR weighs at once; of more draws every second, third, ... is used


@dataclass(frozen=True)
class FreeEnergies:
    """F (R + 1,) in nats at every rung, F[0] = 0, and the influence series (replica, draw, R + 1) of its error.

    `discretization` (R + 1,) bounds the error that more draws do not remove, zero but for thermodynamic integration.
    """

    method: str
    value: Array
    influence: Array
    discretization: Array


def excess(loss: Array, center_loss: float, n: float) -> Array:
    """V = n (L - L*) of draws of any shape, in nats; what is not finite counts as infinitely bad."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = n * (np.asarray(loss, dtype=np.float64) - center_loss)
    return np.clip(np.nan_to_num(values, nan=HUGE, posinf=HUGE, neginf=-HUGE), -HUGE, HUGE)


def stepping_stone(v: Array, beta: Array) -> FreeEnergies:
    """F(β_{k+1}) - F(β_k) = -log E_k exp(-(β_{k+1} - β_k) V), every step from its wider side (Xie et al. 2011).

    `v` is V (replica, draw, R + 1), `beta` ascends from 0.
    """
    exponent = -np.diff(beta) * v[..., :-1]
    largest = exponent.max((0, 1))
    ratio = np.exp(exponent - largest)
    mean = ratio.mean((0, 1))
    steps = -(largest + np.log(mean))
    influence = 1 - ratio / mean
    return FreeEnergies("stepping stone", _from_zero(steps), _from_zero(influence), np.zeros(len(beta)))


def thermodynamic_integration(v: Array, beta: Array) -> FreeEnergies:
    """F(β) = F(β_1) + ∫ β E_β[V] d log β by Hermite's rule, which uses the slope of the integrand too.

    The slope is d(β E[V])/d log β = β E[V] - β² Var[V], so the rule is of fourth order in the spacing of log β:
    h (g_k + g_{k+1})/2 + h² (g'_k - g'_{k+1})/12 (Gelman & Meng 1998 for the identity; Friel, Hurn & Wyse 2014 for the
    use of the variance). Where β = 0 there is no log β, and V need not have a mean: the step to the first rung is
    -log E_0 exp(-β_1 V) from exact draws. `discretization` is a fifteenth of the difference to the rule on every
    second rung (Richardson).
    """
    first = stepping_stone(v[..., :2], beta[:2])
    centred = v[..., 1:] - v[..., 1:].mean((0, 1))
    b, mean = beta[1:], v[..., 1:].mean((0, 1))
    square = centred**2
    variance = square.mean((0, 1))
    value = beta[1:] * mean
    slope = value - b**2 * variance
    d_value = b * centred
    d_slope = d_value - b**2 * (square - variance)
    x = np.log(b)
    steps, influence = _hermite(x, value, slope), _hermite(x, d_value, d_slope)
    total = np.concatenate([[0.0], first.value[1] + _from_zero(steps)])
    series = np.concatenate([np.zeros_like(v[..., :1]), first.influence[..., 1:] + _from_zero(influence)], axis=-1)
    return FreeEnergies("thermodynamic integration", total, series, _richardson(x, value, slope, total))


def _hermite(x: Array, value: Array, slope: Array) -> Array:
    h = np.diff(x)
    return h * (value[..., :-1] + value[..., 1:]) / 2 + h**2 * (slope[..., :-1] - slope[..., 1:]) / 12


def _richardson(x: Array, value: Array, slope: Array, total: Array) -> Array:
    """A fifteenth of what halving the number of rungs changes, at every rung (rising along the ladder).

    The first interval above β_1 cannot be halved: it has what the first two have; alone, what the slopes add to it.
    Every second rung has it on top of the halved ones.
    """
    error = np.zeros(len(total))
    for k in range(2, len(x)):
        every = np.arange(k % 2, k + 1, 2)
        coarse = _hermite(x[every], value[every], slope[every]).sum()
        fine = _hermite(x[every[0] : k + 1], value[every[0] : k + 1], slope[every[0] : k + 1]).sum()
        error[k + 1] = abs(fine - coarse) / 15 + (error[3] if k % 2 else 0.0)
    if len(x) > 2:
        error[2] = error[3]
    elif len(x) == 2:
        error[2] = abs((x[1] - x[0]) ** 2 * (slope[0] - slope[1]) / 12)
    return np.maximum.accumulate(error)


def mbar(v: Array, beta: Array) -> FreeEnergies:
    """F of all rungs at once from all draws: the multistate Bennett acceptance ratio (Shirts & Chodera 2008).

    F_k = -log Σ_s exp(-β_k V_s) / Σ_j N exp(F_j - β_j V_s) over the draws s of every rung, F_0 = 0, solved by Newton's
    method from the stepping-stone answer; its variance is the smallest of all estimators of this kind. The influence is
    that of the estimating equations E[W_k] = 1, W_k the weight of a draw of the mixture of all rungs at rung k. Raises
    InputError where the equations do not converge, which takes rungs that do not overlap.
    """
    rungs = v.shape[-1]
    thin = int(np.ceil(v.size / MAX_SAMPLES))
    v = v[:, :: max(1, thin)]
    samples = v.reshape(-1, rungs)
    energy = samples.reshape(-1, 1) * beta  # (S, R + 1), of the draws of all rungs
    f = stepping_stone(v, beta).value
    for _ in range(MAX_ITERATIONS):
        weight = _mixture_weights(energy, f)
        residual = 1 - weight.mean(0)
        jacobian = np.diag(weight.mean(0)) - weight.T @ weight / (len(weight) * rungs)
        step = np.concatenate([[0.0], np.linalg.lstsq(jacobian[1:, 1:], residual[1:], rcond=None)[0]])
        f = f + step / max(1.0, np.abs(step).max())  # at most a nat at a time
        if np.abs(step).max() < TOLERANCE:
            break
    else:
        raise InputError("MBAR does not converge: neighbouring rungs do not overlap, use a ladder with more rungs")
    centred = weight.reshape(*v.shape, rungs) - weight.reshape(-1, rungs, rungs).mean(0)
    score = -centred.mean(2)[..., 1:]  # the rungs of one draw of one replica together
    influence = np.linalg.lstsq(jacobian[1:, 1:], score.reshape(-1, rungs - 1).T, rcond=None)[0].T
    influence = np.concatenate([np.zeros_like(v[..., :1]), influence.reshape(*v.shape[:2], rungs - 1)], axis=-1)
    return FreeEnergies("MBAR", f, influence, np.zeros(rungs))


def _mixture_weights(energy: Array, f: Array) -> Array:
    """exp(F_k - β_k V) over the mean of that over all rungs: mean 1 over the mixture of the rungs, (S, R + 1)."""
    exponent = f - energy
    exponent -= exponent.max(1, keepdims=True)
    weight = np.exp(exponent)
    return weight / weight.mean(1, keepdims=True)


def _from_zero(steps: Array) -> Array:
    """Cumulative sums along the last axis, with a zero in front."""
    return np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)


METHODS = (thermodynamic_integration, stepping_stone, mbar)
