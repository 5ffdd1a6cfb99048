"""Basin volume by the log-determinant of the Hessian, beside λ and the free energy: where it holds and where not.

1. At perfect fit the Hessian of the mean squared loss is JᵀJ/n, J the Jacobian of outputs by weights: equal ranks.
   Small tanh networks in float64, fitted by Gauss-Newton steps until the residuals are rounding; and the same networks
   before that, where residuals add second derivatives to the Hessian.

2. A basin's volume with weight decay κ and initialization N(0, s²), V = ∫ exp(-t (L + κ/2 |w|²)) N(w; 0, s² I) dw, by
   Laplace's method at the maximum w* of the integrand,

       -log V = t L(w*) + γ/2 |w*|² + d log s + ½ log det(t H + γ),     γ = tκ + 1/s²

   (the log-determinant volume with its weight-decay and initialization terms; Hebbar 2022), and by sampling: V is
   (1 + tκs²)^(-d/2) times the Z of a localizer N(0, I/γ), whose free energy is slt.free_energy's. κ = k/t here, as a
   Gaussian prior that does not change with t. On a regular loss (a linear model of 6 weights) they agree; on
   (w₁w₂)² at the origin, where H = 0, the log-determinant does not see t at all, and -log V grows as
   ½ log t - log log t (λ = ½, m = 2).
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
from slt import zoo
from slt.free_energies.local import free_energy_of_potential

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

ABOUT = About(
    title="Basin volume by log-determinant, beside λ and the free energy",
    claim="At perfect fit Hessian and Jacobian have the same rank; the log-determinant is the volume of a regular "
    "basin, and not of a singular one, where λ and the free energy are.",
    source="Hebbar 2022 (basin volume and ranks); Watanabe 2009 (singular)",
    target="Ranks equal at perfect fit; on the regular loss log-determinant and sampled free energy within three "
    "standard errors; on the singular one the sampled within three of the exact, the log-determinant off by more than "
    "a nat and ever more.",
    criterion="Reproduced if all hold; partly if some do.",
    duration="1 minute",
)
# (inputs, hidden units, samples): fewer samples than weights, so that there is a perfect fit
NETWORKS = ((2, 6, 10), (2, 12, 25), (3, 8, 32))
TOLERANCE = 1e-9  # of the largest singular value: below it, zero
STARTED = 1.0  # s of the initialization
DECAY = 3.0  # k: κ = k/t
SCALES = torch.tensor([0.03, 0.1, 0.3, 1.0, 2.0, 4.0], dtype=torch.float64)
END = 10**5
GAMMA = DECAY + 1 / STARTED**2


def network(w: Tensor, x: Tensor, hidden: int) -> Tensor:
    """a·tanh(Bx + c) for flat weights (B, c, a)."""
    inputs = x.shape[1]
    first, bias, last = torch.split(w, [hidden * inputs, hidden, hidden])
    return torch.tanh(x @ first.reshape(hidden, inputs).T + bias) @ last


def rank(matrix: Tensor) -> int:
    values = torch.linalg.svdvals(matrix)
    return int((values > TOLERANCE * values[0]).sum())


def ranks(inputs: int, hidden: int, samples: int, seed: int) -> list[dict[str, Any]]:
    """Ranks at the start and at the perfect fit of random targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    y = torch.randn(samples, generator=generator, dtype=torch.float64)
    w = torch.randn(hidden * (inputs + 2), generator=generator, dtype=torch.float64)

    def residual(v: Tensor) -> Tensor:
        return network(v, x, hidden) - y

    def measured(v: Tensor, name: str) -> dict[str, Any]:
        hessian = torch.func.hessian(lambda u: 0.5 * residual(u).square().mean())(v)
        jacobian = torch.func.jacrev(residual)(v)
        return {
            "network": f"{inputs}-{hidden}-1", "samples": samples, "weights": len(v), "where": name,
            "residual": float(residual(v).abs().max()), "hessian": rank(hessian), "jacobian": rank(jacobian),
        }  # fmt: skip

    rows, damping = [measured(w, "start")], 1.0
    for _ in range(2000):
        error, jacobian = residual(w), torch.func.jacrev(residual)(w)
        if float(error.abs().max()) < 1e-14:
            break
        step = jacobian.T @ torch.linalg.solve(jacobian @ jacobian.T + damping * torch.eye(samples).double(), error)
        better = residual(w - step).square().sum() < error.square().sum()
        w, damping = (w - step, damping / 4) if better else (w, damping * 4)
        damping = min(max(damping, 1e-14), 1e6)
    return [*rows, measured(w, "perfect fit")]


def log_determinant(potential: Callable[[Tensor], Tensor], w: Tensor, t: np.ndarray) -> np.ndarray:
    """-log V by Laplace's method, (T,); the maximum at each t by Newton's method from w."""
    found = []
    for value in t:
        v = w.clone()
        for _ in range(50):
            gradient = value * torch.func.grad(potential)(v) + GAMMA * v
            curvature = value * torch.func.hessian(potential)(v) + GAMMA * torch.eye(len(v), dtype=torch.float64)
            if float(gradient.norm()) < 1e-9 * value:
                break
            v = v - torch.linalg.solve(curvature, gradient)
        energy = value * potential(v) + 0.5 * GAMMA * v.square().sum()
        found.append(float(energy + len(v) * math.log(STARTED) + 0.5 * torch.logdet(curvature)))
    return np.array(found)


def family(name: str, end: int, chains: int, draws: int, seed: int) -> dict[str, Any]:
    """-log V at the rungs of a ladder, sampled, by log-determinant and exact where the zoo has it."""
    started, generator = time.monotonic(), torch.Generator().manual_seed(seed)
    model = zoo.get("crossing-2-2")
    best = 0.3 * torch.randn(len(SCALES), generator=generator, dtype=torch.float64)

    def regular(w: Tensor) -> Tensor:
        return 0.5 * (SCALES * (w - best)).square().sum(-1)

    potential, start = (model.potential, model.center) if name == "singular" else (regular, best)
    center = torch.zeros_like(start)
    found = free_energy_of_potential(
        potential, center, end, gamma=GAMMA, chains=chains, draws=draws, seed=seed, progress=False
    )
    beta = np.asarray(found.curve.beta)
    t = end * beta[beta > 0]
    # with κ = k/t the factor (1 + tκs²)^(-d/2) does not depend on t
    factor = 0.5 * len(center) * math.log1p(DECAY * STARTED**2)
    sampled = t * found.center_loss + np.asarray(found.curve.free_energy)[beta > 0] + factor
    exact = model.free_energy(t, gamma=GAMMA) + factor if name == "singular" else None
    return {
        "t": t, "sampled": sampled, "error": np.asarray(found.curve.free_energy_error)[beta > 0],
        "log_determinant": log_determinant(potential, start, t), "exact": exact,
        "llc": 0.5 if name == "singular" else len(SCALES) / 2, "seconds": time.monotonic() - started,
    }  # fmt: skip


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    end, chains, draws = (100, 4, 20) if quick else (END, 32, 1000)
    seed, shapes = options.seed, NETWORKS[:1] if quick else NETWORKS
    return {
        "ranks": [row for shape in shapes for row in ranks(*shape, seed)],
        "families": {
            name: kept(f"{name}, {chains} × {draws}, seed {seed}", family, name, end, chains, draws, seed)
            for name in ("regular", "singular")
        },
    }


def worst(item: dict[str, Any], reference: str) -> float:
    """z of the sampled against the reference, the largest over the rungs."""
    values = zip(item["sampled"], item[reference], item["error"], strict=True)
    return max(((a - b) / error for a, b, error in values if error), key=abs)


def gap(item: dict[str, Any]) -> list[float]:
    """Log-determinant less exact -log V at 1/100 of the last t and there, nats."""
    apart = np.array(item["log_determinant"]) - np.array(item["exact"])
    at = np.interp(np.log([item["t"][-1] / 100, item["t"][-1]]), np.log(item["t"]), apart)
    return [float(value) for value in at]


def judge(measured: dict[str, Any]) -> Verdict:
    fitted = [row for row in measured["ranks"] if row["where"] == "perfect fit"]
    equal = sum(row["hessian"] == row["jacobian"] and row["residual"] < 1e-12 for row in fitted)
    regular, singular = measured["families"]["regular"], measured["families"]["singular"]
    z, y, (before, after) = worst(regular, "log_determinant"), worst(singular, "exact"), gap(singular)
    return verdict_of(
        [
            (f"{equal} of {len(fitted)} ranks equal at perfect fit (all)", equal == len(fitted)),
            (f"regular: sampled against log-determinant, worst z {z:+.1f} (3)", abs(z) <= 3),
            (f"singular: sampled against exact, worst z {y:+.1f} (3)", abs(y) <= 3),
            (
                f"singular: log-determinant off by {before:+.1f} nats at t/100, {after:+.1f} at the last t",
                abs(after) > 1 and abs(after) > abs(before),
            ),
        ]
    )


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (row["network"], str(row["weights"]), str(row["samples"]), row["where"], f"{row['residual']:.0e}",
         str(row["hessian"]), str(row["jacobian"]))
        for row in measured["ranks"]
    ]  # fmt: skip
    volumes = []
    for name, item in measured["families"].items():
        wanted = [t for t in (1e1, 1e3, 1e5) if t <= item["t"][-1] * 1.001]
        nearest = sorted(
            {min(range(len(item["t"])), key=lambda i, t=t: abs(math.log(item["t"][i] / t))) for t in wanted}
        )
        for i in nearest:
            exact = f"{item['exact'][i]:.3f}" if item["exact"] else "the log-determinant"
            cells = f"{item['log_determinant'][i]:.3f}", f"{item['sampled'][i]:.3f} ± {item['error'][i]:.3f}"
            volumes.append((name, f"{item['t'][i]:.2g}", *cells, exact, f"{item['llc']:g}"))
    return [
        Table(("network", "weights", "samples", "where", "residual", "rank of Hessian", "of Jacobian"), rows),
        Table(("loss", "t", "log-determinant", "sampled", "exact", "λ"), volumes, "-log V, nats."),
    ]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2)
    for axis, (name, item) in zip(axes, measured["families"].items(), strict=True):
        axis.plot(item["t"], item["log_determinant"], "--", label="log-determinant")
        if item["exact"]:
            axis.plot(item["t"], item["exact"], "k-", lw=1, label="exact")
        axis.errorbar(item["t"], item["sampled"], yerr=item["error"], fmt="o", ms=4, label="sampled")
        axis.set(xscale="log", xlabel="t = nβ", ylabel="-log V, nats", title=f"{name}, λ = {item['llc']:g}")
        axis.legend(fontsize=8)
    return figure
