"""Overparameterized polynomials: the 15-parameter machine, its finite-t values and the posterior mass of functions.

f(x) = θ₁ + θ₂θ₃x + θ₄θ₅θ₆x² + θ₇θ₈θ₉θ₁₀x³ + θ₁₁...θ₁₅x⁴, prior uniform on [-1, 1]¹⁵, K = ‖c - c*‖² between coefficient
vectors, t = nβ. The uniform prior is sampled as θ = 2Φ(z) - 1 with z standard normal.

    E[tK]   truth zero, by annealed particles (those of slt.estimate_rlct), against exact values
    -log Z  four truths c*, Z(t) = ∫ exp(-tK): the mass of the function's neighbourhood of width 1/√t, by a ladder of
            temperatures with replica exchange (slt.free_energy), and by plain draws of the prior while those hit it

All truths have λ = 5/2; m is 11, 10, 7 and 1. Exact values come from one-dimensional integrals, coefficient by
coefficient: a product of k uniforms has the density (-log |c|)^(k-1) / (2 (k-1)!). A coefficient that vanishes in the
truth gives Z a factor (log t + c)^(k-1), c = -ψ(½), so Z relative to that of the function without vanishing
coefficients grows as (log t + c)^(m-1) up to a constant.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from samplers.analytic import LocalPotential
from samplers.annealing import Annealing
from slt.exact import families
from slt.exact.families.overparameterized import FIFTEEN_PARAMETER_MACHINE
from slt.free_energies.local import free_energy_of_potential
from slt.zoo.overparameterized import products

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="The 15-parameter machine: same λ, another m, and what the posterior makes of it",
    claim="λ = 5/2 whatever the function; the multiplicity decides how much posterior mass simple functions gain as n "
    "grows.",
    source="The 15-parameter machine of examples/polynomial_machine.py; exact values by quadrature",
    target="E[tK] at t = 1e2 to 1e9 within three standard errors of the exact values; -log Z of four functions within "
    "three of quadrature and of direct sampling; the gain of mass over the generic function as (log t + c)^(m-1).",
    criterion="Reproduced if all hold, the exponent of log t + c within 15% of m - 1, direct sampling where at least "
    "100 draws hit the function; partly if some do.",
    duration="2 minutes",
)
SIZES = list(FIFTEEN_PARAMETER_MACHINE)
EXACT = {1e2: 1.288, 1e3: 1.514, 1e4: 1.679, 1e6: 1.893, 1e9: 2.068}  # E[tK], truth zero
LEVEL = 0.3  # of the coefficients that do not vanish: inside of the prior's support
TRUTHS: dict[str, tuple[int, ...]] = {  # coefficients that do not vanish
    "0": (), "constant and x": (0, 1), "x⁴": (4,), "all five": (0, 1, 2, 3, 4),
}  # fmt: skip
TIMES = (1e2, 1e3, 1e4, 1e5, 1e6)
SHIFT = 1.9635  # -ψ(½)
DIRECT = 4_000_000
HIT = 0.1  # relative error of Z above which too few draws hit the function (fewer than 100) for an error to be known
coefficients = products(SIZES)


def truth(name: str) -> Tensor:
    return torch.tensor([LEVEL if j in TRUTHS[name] else 0.0 for j in range(5)], dtype=torch.float64)


def multiplicity(name: str) -> int:
    vanishing = [0 if j in TRUTHS[name] else k for j, k in enumerate(SIZES)]
    return families.fifteen_parameter_machine(vanishing).multiplicity


def uniform(z: Tensor) -> Tensor:
    """Standard normal to uniform on [-1, 1]."""
    return torch.erf(z / math.sqrt(2))


def exact_log_mass(name: str, t: np.ndarray) -> np.ndarray:
    """log Z(t), (T,): five integrals over c = ± e^-s, on a grid of s fine enough for the width 1/√t."""
    s = np.concatenate([np.linspace(0, 4, 400_001), np.linspace(4, 60, 20_001)[1:]])
    middle, width = 0.5 * (s[1:] + s[:-1]), np.diff(s)
    total = np.zeros(len(t))
    for j, k in enumerate(SIZES):
        density = middle ** (k - 1) * np.exp(-middle) / (2 * math.factorial(k - 1)) * width
        target = float(truth(name)[j])
        for i, value in enumerate(t):
            c = np.exp(-middle)
            both = np.exp(-value * (c - target) ** 2) + np.exp(-value * (c + target) ** 2)
            total[i] += math.log((density * both).sum())
    return total


def annealed(size: int, end: float, seed: int) -> dict[str, Any]:
    """E[tK] for the truth zero, by 8 groups of annealed particles stopped at each t."""
    started = time.monotonic()
    center = torch.zeros(15, dtype=torch.float64)
    local = LocalPotential(lambda z: coefficients(uniform(z)).square().sum(-1), center, 1.0)
    annealing, rows = Annealing(local, groups=8, size=size, seed=seed), []
    for t in EXACT:
        if t > end:
            break
        while annealing.log_t < math.log(t):
            stage = annealing.advance(limit=math.log(t))
        rows.append((t, stage.mean.mean(), stage.mean.std(ddof=1) / math.sqrt(len(stage.mean))))
    at, mean, error = zip(*rows, strict=True)
    return {"t": at, "mean": mean, "error": error, "seconds": time.monotonic() - started}


def ladder(name: str, end: float, chains: int, draws: int, seed: int) -> dict[str, Any]:
    """-log Z at the rungs of one ladder up to t = end."""
    started, goal = time.monotonic(), truth(name)
    center = torch.zeros(15, dtype=torch.float64)
    found = free_energy_of_potential(
        lambda z: (coefficients(uniform(z)) - goal).square().sum(-1), center, int(end), gamma=1.0, chains=chains,
        draws=draws, seed=seed, progress=False,
    )  # fmt: skip
    t = end * np.asarray(found.curve.beta)
    keep = t >= min(50.0, end / 2)
    free = t[keep] * found.center_loss + np.asarray(found.curve.free_energy)[keep]
    error = np.asarray(found.curve.free_energy_error)[keep]
    return {"t": t[keep], "free_energy": free, "error": error, "seconds": time.monotonic() - started}


def direct(names: list[str], times: list[float], draws: int, seed: int) -> dict[str, Any]:
    """-log of the mean of exp(-tK) over draws of the prior, with its error."""
    generator = torch.Generator().manual_seed(seed)
    total = {name: np.zeros((2, len(times))) for name in names}
    for _ in range(max(1, draws // 100_000)):
        theta = 2 * torch.rand(min(draws, 100_000), 15, generator=generator, dtype=torch.float64) - 1
        c = coefficients(theta)
        for name in names:
            k = (c - truth(name)).square().sum(-1)
            for i, t in enumerate(times):
                weight = (-t * k).exp()
                total[name][:, i] += float(weight.sum()), float(weight.square().sum())
    found = {}
    for name, (first, second) in total.items():
        mean = first / draws
        error = np.sqrt(np.maximum(second / draws - mean**2, 0) / draws) / mean
        found[name] = {"free_energy": -np.log(mean), "error": error}
    return {"t": times, "functions": found}


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    seed, names = options.seed, list(TRUTHS)
    particles, end, top, chains, draws, many = (
        (16, 1e2, 1e2, 2, 20, 20_000) if quick else (512, 1e9, 1e6, 16, 600, DIRECT)
    )
    functions = {}
    for name in names[:: 3 if quick else 1]:
        found = kept(f"ladder for {name}, {chains} × {draws}, seed {seed}", ladder, name, top, chains, draws, seed)
        exact = -exact_log_mass(name, np.array(found["t"]))
        functions[name] = {**found, "exact": exact, "multiplicity": multiplicity(name)}
    times = [t for t in TIMES if t <= min(top, 1e3)]
    plain = kept(f"direct, {many} draws, seed {seed}", direct, list(functions), times, many, seed)
    sampled = {
        name: {**item, "exact": -exact_log_mass(name, np.array(times))} for name, item in plain["functions"].items()
    }
    key = f"annealed, 8 × {particles} particles, seed {seed}"
    energies = kept(key, annealed, particles, end, seed)
    return {"energies": energies, "functions": functions, "direct": {"t": times, "functions": sampled}}


def gains(measured: dict[str, Any]) -> dict[str, tuple[float, int]]:
    """Exponent of log t + c in Z/Z_generic by least squares over the rungs from t = 1e3 on, and m - 1."""
    functions = measured["functions"]
    base = functions["all five"]
    found = {}
    for name, item in functions.items():
        t = np.array(item["t"])
        use = t >= 1e3
        if name == "all five" or use.sum() < 3:
            continue
        generic = np.interp(np.log(t[use]), np.log(base["t"]), np.array(base["free_energy"]))
        gain = generic - np.array(item["free_energy"])[use]
        found[name] = float(np.polyfit(np.log(np.log(t[use]) + SHIFT), gain, 1)[0]), item["multiplicity"] - 1
    return found


def scores(item: dict[str, Any], limit: float = math.inf) -> list[float]:
    """z against quadrature, wherever the error is at most `limit`."""
    values = zip(item["free_energy"], item["exact"], item["error"], strict=True)
    return [(value - exact) / error for value, exact, error in values if 0 < error <= limit]


def judge(measured: dict[str, Any]) -> Verdict:
    energies = measured["energies"]
    z = [(mean - EXACT[t]) / max(error, 5e-4) for t, mean, error in zip(energies["t"], energies["mean"],
         energies["error"], strict=True)]  # fmt: skip
    worst = max(z, key=abs)
    ladders = max((value for item in measured["functions"].values() for value in scores(item)), key=abs)
    direct_z = [value for item in measured["direct"]["functions"].values() for value in scores(item, HIT)]
    plain = max(direct_z, key=abs)
    checks = [
        (f"E[tK] at {len(z)} t, worst z {worst:+.1f} (3)", abs(worst) <= 3),
        (f"-log Z by ladders against quadrature, worst z {ladders:+.1f} (3)", abs(ladders) <= 3),
        (
            f"-log Z by direct sampling at {len(direct_z)} points where it hits, worst z {plain:+.1f} (3)",
            abs(plain) <= 3,
        ),
    ]
    for name, (exponent, expected) in gains(measured).items():
        text = f"mass of {name} gains as (log t + c)^{exponent:.1f} (m - 1 = {expected})"
        checks.append((text, abs(exponent - expected) <= 0.15 * expected))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    energies = measured["energies"]
    rows = [
        (f"{t:.0e}", f"{mean:.3f} ± {error:.3f}", f"{EXACT[t]:.3f}")
        for t, mean, error in zip(energies["t"], energies["mean"], energies["error"], strict=True)
    ]
    masses = []
    for name, item in measured["functions"].items():
        plain = measured["direct"]["functions"][name]
        for i, t in enumerate(measured["direct"]["t"]):
            near = [np.interp(math.log(t), np.log(item["t"]), item[key]) for key in ("free_energy", "error")]
            masses.append((name, str(item["multiplicity"]), f"{t:.0e}", f"{near[0]:.2f} ± {near[1]:.2f}",
                           f"{plain['free_energy'][i]:.3f} ± {plain['error'][i]:.3f}",
                           f"{plain['exact'][i]:.3f}"))  # fmt: skip
        last = item["t"][-1]
        found = f"{item['free_energy'][-1]:.2f} ± {item['error'][-1]:.2f}"
        masses.append((name, str(item["multiplicity"]), f"{last:.0e}", found, "", f"{item['exact'][-1]:.3f}"))
    exponents = [(name, f"{gain:.2f}", str(expected)) for name, (gain, expected) in gains(measured).items()]
    return [
        Table(("t", "E[tK]", "exact"), rows, "Truth zero; λ = 5/2 is its limit."),
        Table(("function", "m", "t", "ladder", "direct sampling", "exact"), masses,
              f"-log Z, nats; coefficients that do not vanish are {LEVEL}. Ladder: between rungs. Direct sampling with "
              "an error above 0.1 is not held to anything: fewer than 100 of its draws hit the function."),
        Table(("function", "exponent of log t + c", "m - 1"), exponents,
              "Posterior mass relative to the function without vanishing coefficients."),
    ]  # fmt: skip


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, height=3.8)
    energies = measured["energies"]
    axes[0].errorbar(energies["t"], energies["mean"], yerr=energies["error"], fmt="o", capsize=3, label="sampled")
    axes[0].plot(list(EXACT), list(EXACT.values()), "k_", ms=14, label="exact")
    axes[0].axhline(2.5, color="gray", lw=1, ls="--", label="λ")
    axes[0].set(xscale="log", xlabel="t = nβ", ylabel="E[tK], truth zero")
    axes[0].legend(fontsize=8)
    base = measured["functions"]["all five"]
    for name, item in measured["functions"].items():
        if name == "all five":
            continue
        t = np.array(item["t"])
        generic = [np.interp(np.log(t), np.log(base["t"]), base[key]) for key in ("free_energy", "exact", "error")]
        error = np.hypot(item["error"], generic[2])
        gain = generic[0] - np.array(item["free_energy"])
        shown = axes[1].errorbar(t, gain, yerr=error, fmt="o", ms=3, label=f"{name}, m = {item['multiplicity']}")
        power = (item["multiplicity"] - 1) * np.log(np.log(t) + SHIFT)
        axes[1].plot(t, power - power[-1] + gain[-1], "-", lw=1, color=shown[0].get_color())
    axes[1].set(xscale="log", xlabel="t = nβ", ylabel="log of mass relative to all five coefficients")
    axes[1].set_title("lines: (log t + c)^(m-1), level fitted at the end", fontsize=8)
    axes[1].legend(fontsize=8)
    return figure
