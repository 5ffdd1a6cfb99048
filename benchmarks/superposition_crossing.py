"""Toy model of superposition, c = 6: where the posterior passes from the 5-gon to the 6-gon, by two independent routes.

The posterior is exp(-n L(w)) N(w; 0, I/γ) with L the loss of the high-sparsity limit (no further ½) and γ = 1, the
standard normal prior on all 18 weights. Feature i counts as represented to the degree
s_i = sigmoid((|W_i|² + b_i - ½)/0.1), and r_k(w), the probability that exactly k of six independent coins with chances
s_i show heads, splits every w between regions: Σ_k r_k = 1. The region "k-gon" weighs Z_k = ∫ exp(-nL) r_k N dw.

Route 1: free energies -log Z_5 and -log Z_6, each from a ladder of its own, whose target is that region alone.
Route 2: occupancy. Replica exchange on the whole posterior; the log odds are log (mean r_5 / mean r_6) over its draws.

Published (Chen, Lau, Mendel, Wei & Murfet 2023): the formula nΔL + Δλ log n + Δc = 0 with ΔL = -0.02055, Δλ = 3/2 and
Δc = 2.7535 gives n = 601, 445 without Δc; observed between 600 and 700. That Δc equals ½ (|w_6|² - |w_5|²) to all
printed digits (5-gon with its dead weights at 0): it is the log density of a standard normal prior at the two points,
and leaves out the determinants, the lengths of the orbits, the number of copies and the volume of dead weights. The
table shows that formula beside the complete Laplace constant and the sampled odds.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import About, Kept, Table, Verdict, at_least, verdict_of
from samplers.engine import Potential
from samplers.ladder_warmup import warm_up_ladder
from samplers.posterior import LocalPosterior
from slt.diagnostics import summarize_mean
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.free_energies.local import free_energy_of_potential
from slt.zoo.superposition import polygon, superposition_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Toy model of superposition: the 5-gon to 6-gon crossing in n",
    claim="As n grows the posterior passes from the 5-gon to the 6-gon; free energies say where, and so does "
    "occupancy.",
    source="Chen, Lau, Mendel, Wei & Murfet 2023; docs/temperatures.md",
    target="The two routes agree at every n (|z| < 4) and on the crossing; the published crossing is n = 600 to 700, "
    "prior not stated, 601 by their formula.",
    criterion="Reproduced if the routes agree, the formula vanishes at 601 ± 1 and the sampled crossing under our "
    "prior "
    "N(0, I) lies in 600 to 700; partly if some of these hold.",
    duration="15 minutes",
)
COLUMNS = 6
GAMMA = 1.0
SHARPNESS = 0.1
SAMPLE_SIZES = (200, 300, 400)
DEAD_DRAWS = 2_000_000
CENTER = torch.zeros(3 * COLUMNS, dtype=torch.float64)
PUBLISHED: dict[str, Any] = {
    "delta_loss": -0.02055,
    "delta_llc": 1.5,
    "delta_constant": 2.7535,
    "crossing": 601,
    "observed": [600, 700],
}


def log_regions(w: Tensor) -> tuple[Tensor, Tensor]:
    """log r_5 and log r_6 of points w (..., 18)."""
    length = w[..., :COLUMNS] ** 2 + w[..., COLUMNS : 2 * COLUMNS] ** 2
    margin = (length + w[..., 2 * COLUMNS :] - 0.5) / SHARPNESS
    on, off = F.logsigmoid(margin), F.logsigmoid(-margin)
    all_on = on.sum(-1)
    return torch.logsumexp(all_on[..., None] - on + off, -1), all_on


@dataclass(frozen=True)
class Row:
    """Log odds of the 5-gon against the 6-gon at one n, by every route; errors are Monte Carlo errors."""

    n: int
    free_energy_5: dict[str, tuple[float, float]]
    free_energy_6: dict[str, tuple[float, float]]
    log_odds: float
    log_odds_error: float
    occupancy: float
    occupancy_error: float
    occupancy_5: float
    occupancy_6: float
    z: float
    formula: float
    laplace: float
    seconds: float


def region_free_energy(sides: int, n: int, chains: int, draws: int, seed: int) -> FreeEnergyEstimate:
    """-log Z_k at n, from a ladder whose potential is nL - log r_k."""

    def potential(w: Tensor) -> Tensor:
        return superposition_loss(w, COLUMNS) - log_regions(w)[sides - 5] / n

    knobs = {"gamma": GAMMA, "chains": chains, "draws": draws, "seed": seed, "progress": False}
    return free_energy_of_potential(potential, CENTER, n, **knobs)


def occupancy(n: int, chains: int, draws: int, seed: int) -> tuple[float, float, float, float]:
    """log (mean r_5 / mean r_6) on the whole posterior with its error, and the two means."""
    loss = Potential(lambda w: superposition_loss(w, COLUMNS), len(CENTER))
    posterior = LocalPosterior(loss, CENTER, n=n, beta=1.0, gamma=GAMMA)
    run = warm_up_ladder(posterior, seed=seed, replicas=chains, n_data=n).exchange
    shares = []
    for _ in range(draws):
        run.sweep()
        five, six = log_regions(run.at_rung(run.ladder.rungs))
        shares.append(torch.stack([five, six]).exp())
    five, six = torch.stack(shares, dim=-1).numpy()  # (chain, draw)
    summary = summarize_mean(five / five.mean() - six / six.mean())
    return math.log(five.mean() / six.mean()), summary.std_error, float(five.mean()), float(six.mean())


def laplace_constants() -> tuple[float, float, float]:
    """L_5 - L_6 and the constants of log Z_5 and log Z_6 beside -nL - (rank/2) log n.

    Each polygon is a set of circles (rotations) of length 2π |W|: 5! of six columns in order, 6 · 4! of five. Normal to
    them the loss is quadratic. The 5-gon's dead column and bias are free where neither moves any output: their prior
    mass, by plain Monte Carlo.
    """
    constants, losses = [], []
    for sides, circles in ((5, 144), (6, 120)):
        w = polygon(sides, COLUMNS)
        rank = 3 * sides - 1
        hessian = torch.func.hessian(lambda x: superposition_loss(x, COLUMNS))(w)
        log_determinant = float(torch.linalg.eigvalsh(hessian)[-rank:].log().sum())
        columns = w[: 2 * COLUMNS].reshape(2, COLUMNS)[:, :sides]
        bias = w[2 * COLUMNS : 2 * COLUMNS + sides]
        square = float(columns.square().sum() + bias.square().sum())
        log_density = -0.5 * GAMMA * square - 1.5 * sides * math.log(2 * math.pi / GAMMA)
        orbit = math.log(circles * 2 * math.pi * float(columns.norm()))
        dead = 0.0 if sides == 6 else math.log(_dead_mass(columns, float(bias[0])))
        constants.append(orbit + dead + log_density + 0.5 * rank * math.log(2 * math.pi) - 0.5 * log_determinant)
        losses.append(float(superposition_loss(w, COLUMNS)))
    return losses[0] - losses[1], constants[0], constants[1]


def _dead_mass(columns: Tensor, bias: float) -> float:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(DEAD_DRAWS, 3, generator=generator, dtype=torch.float64) / math.sqrt(GAMMA)
    column, own = draws[:, :2], draws[:, 2]
    overlap = (column @ columns).max(1).values
    silent = (overlap <= -bias) & (overlap <= -own) & (column.square().sum(1) <= -own) & (own < 0)
    return float(silent.double().mean())


def measure(n: int, chains: int, draws: int, seed: int) -> Row:
    """One sample size."""
    delta, constant_5, constant_6 = laplace_constants()
    started = time.monotonic()
    five, six = (region_free_energy(sides, n, chains, draws, seed + sides) for sides in (5, 6))
    log_odds, error = six.total - five.total, math.hypot(five.std_error, six.std_error)
    visited, visited_error, share_5, share_6 = occupancy(n, chains, draws, seed)
    shift_5, shift_6 = (n * estimate.center_loss for estimate in (five, six))
    return Row(
        n,
        {name: (value + shift_5, spread) for name, (value, spread) in five.methods.items()},
        {name: (value + shift_6, spread) for name, (value, spread) in six.methods.items()},
        log_odds,
        error,
        visited,
        visited_error,
        share_5,
        share_6,
        (log_odds - visited) / math.hypot(error, visited_error),
        published_log_odds(n),
        -n * delta + 1.5 * math.log(n) + constant_5 - constant_6,
        time.monotonic() - started,
    )


def published_log_odds(n: float) -> float:
    """Their formula for the log odds of the 5-gon, nΔL + Δλ log n + Δc."""
    return n * PUBLISHED["delta_loss"] + PUBLISHED["delta_llc"] * math.log(n) + PUBLISHED["delta_constant"]


def crossing(rows: list[dict[str, Any]], name: str) -> tuple[float, float] | None:
    """The n at which the parabola through the log odds at three n vanishes, and its error; None where it does not."""
    n = np.array([row["n"] for row in rows], dtype=float)
    values = np.array([row[name] for row in rows])
    errors = np.array([row[f"{name}_error"] for row in rows])
    parabola = np.polynomial.Polynomial.fit(n, values, min(2, len(rows) - 1))
    roots = [float(root.real) for root in parabola.roots() if abs(root.imag) < 1e-9 and root.real > 0]
    if not roots:
        return None
    root = min(roots, key=lambda r: abs(r - n.mean()))
    # d root / d value_j = -ℓ_j(root) / parabola'(root), ℓ_j the polynomial that is 1 at n_j and 0 at the others
    weights = np.array([np.prod([(root - a) / (b - a) for a in n if a != b]) for b in n])
    return root, float(np.sqrt(((weights * errors) ** 2).sum()) / abs(parabola.deriv()(root)))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chains", type=at_least(1), default=16)
    parser.add_argument("--draws", type=at_least(1), default=800)


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    sizes, chains, draws = ((20,), 2, 5) if quick else (SAMPLE_SIZES, options.chains, options.draws)
    rows = [
        kept(f"n = {n}, {chains} × {draws}, seed {options.seed}", measure, n, chains, draws, options.seed)
        for n in sizes
    ]
    crossings = {name: crossing(rows, name) for name in ("log_odds", "occupancy")} if len(rows) == 3 else {}
    prior = f"N(0, I/{GAMMA:g}) on all weights"
    return {"prior": prior, "rows": rows, "crossings": crossings, "chains": chains, "draws": draws}


def judge(measured: dict[str, Any]) -> Verdict:
    worst = max(abs(row["z"]) for row in measured["rows"])
    by_formula = next(n for n in range(100, 2000) if published_log_odds(n) < 0)
    low, high = PUBLISHED["observed"]
    checks = [
        (f"routes agree, largest |z| {worst:.1f} (below 4)", worst < 4),
        (
            f"formula vanishes at n = {by_formula} ({PUBLISHED['crossing']} ± 1)",
            abs(by_formula - PUBLISHED["crossing"]) <= 1,
        ),
    ]
    for name, found in measured["crossings"].items():
        route = "free energies" if name == "log_odds" else name
        n, error = found or (math.nan, math.nan)
        checks.append((f"crossing by {route} at n = {n:.0f} ± {error:.0f} ({low} to {high})", low <= n <= high))
    pair = [found for found in measured["crossings"].values() if found]
    if len(pair) == 2:
        apart = abs(pair[0][0] - pair[1][0]) / math.hypot(pair[0][1], pair[1][1])
        checks.append((f"the two crossings {apart:.1f} standard errors apart (below 4)", apart < 4))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows = [
        (
            str(row["n"]), f"{row['log_odds']:+.3f} ± {row['log_odds_error']:.3f}",
            f"{row['occupancy']:+.3f} ± {row['occupancy_error']:.3f}", f"{row['z']:+.1f}", f"{row['formula']:+.2f}",
            f"{row['laplace']:+.2f}",
        )
        for row in measured["rows"]
    ]  # fmt: skip
    header = ("n", "free energies", "occupancy", "z", "published formula", "Laplace, all constants")
    return [Table(header, rows, f"Log odds of the 5-gon against the 6-gon, prior {measured['prior']}.")]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, (axis,) = figures.new(width=5.6)
    n = [row["n"] for row in measured["rows"]]
    for name, label in (("log_odds", "free energies"), ("occupancy", "occupancy")):
        errors = [row[f"{name}_error"] for row in measured["rows"]]
        axis.errorbar(n, [row[name] for row in measured["rows"]], yerr=errors, fmt="o-", capsize=3, label=label)
    grid = np.linspace(min(n), 720, 100)
    axis.plot(grid, [published_log_odds(value) for value in grid], "--", color="gray", label="published formula")
    axis.axvspan(*PUBLISHED["observed"], color="gray", alpha=0.15, label="published crossing")
    axis.axhline(0, color="gray", linewidth=1)
    axis.set(xlabel="n", ylabel="log odds of the 5-gon against the 6-gon")
    axis.legend(fontsize=8)
    return figure
