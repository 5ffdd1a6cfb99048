"""The linear regime: every sampler and estimator on linearized networks of growing width, against closed forms.

f(x) = a·tanh(Wx/2)/√width of four inputs at standard normal weights w*, linearized: f(w*) + J (w - w*). Inputs are
normal, n = 400, noise variance 0.1, γ = 10, β = 1/log n. Targets are f(w*) plus noise with its part in the span of J
taken out, so that w* is the minimum and minibatches are noisy there. With h the eigenvalues of JᵀJ/nσ² and
a = nβh + γ every answer is a finite sum (slt.linearized, slt.zoo.linear_reference).

The samples' Jacobians are the data of a linear model, which is the linearized network number for number: one row runs
`slt.linearized.Linearized` itself. The last table is the network that was not linearized, which approaches the closed
form as it grows wider (Jacot, Gabriel & Hongler 2018).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

import slt
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from benchmarks.linear_regime_networks import GAMMA, NOISE_VARIANCE, Problem
from samplers.registry import FULL_DATA, NAMES
from slt.linearized import Linearized, quadratic_llc
from slt.zoo.linear_reference import linear_reference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="The linear regime (NTK): every estimator against its closed form",
    claim="On a linearized network every sampler and every estimator gives the closed form at finite n, and the bias "
    "of plain Langevin steps is the one that theory predicts.",
    source="Jacot, Gabriel & Hongler 2018 (the regime); the closed forms are those of slt.linearized",
    target="Within 2% of the closed form at every width; plain SGLD within 2% of the closed form that has its step in.",
    criterion="Reproduced if every estimate is within 2%, and within three of its standard errors; partly if all of "
    "one kind are.",
    duration="30 minutes",
)
SAMPLES = 400
WIDTHS = (4, 16, 64)
STEPS = (0.2, 0.8, 2.0)  # ε a_max: steps of plain SGLD, as shares of the 4 at which it becomes unstable
BY_HAND = {"psgld": 1e-3, "adam-sgld": 2e-4, "sgnht": 3e-4}  # the program's steps cost them 10% and more, or too long
BOUND = 0.02


def row(name: str, value: float, error: float, exact: float, started: float) -> dict[str, Any]:
    return {"name": name, "value": value, "error": error, "exact": exact, "seconds": time.monotonic() - started}


def by_sampler(problem: Problem, name: str, quick: bool, seed: int) -> dict[str, Any]:
    """λ̂ by name, step chosen by the program but for `BY_HAND`; minibatches of a quarter of the samples."""
    started = time.monotonic()
    settings: dict[str, Any] = {"chains": 256, "target_error": 0.006, "max_steps": 3000}
    if quick:
        settings = {"chains": 4, "draws": 8, "warmup": 4}
    elif name == "nuts":
        settings = {"chains": 4, "draws": 600}
    elif name in ("psgld", "adam-sgld"):
        settings["max_steps"] = 12_000
    if name not in FULL_DATA:
        settings |= {"batch_size": len(problem.inputs) // 4, "step_size": BY_HAND.get(name)}
    found = problem.estimate(sampler=name, seed=seed, **settings)
    return row(name, found.llc, found.std_error, problem.closed_llc(), started)


def by_linearized(problem: Problem, quick: bool, seed: int) -> dict[str, Any]:
    """λ̂ of `Linearized` on the inputs themselves."""
    started, model = time.monotonic(), Linearized(problem.network)
    targets = problem.network(problem.inputs).detach() + problem.residual
    settings = {"chains": 4, "draws": 4} if quick else {"chains": 128, "target_error": 0.006}
    found = slt.estimate_llc(
        model, (problem.inputs, targets), slt.gaussian_loss(NOISE_VARIANCE), gamma=GAMMA, sampler="hmc",
        progress=False, seed=seed, **settings,
    )  # fmt: skip
    return row("Linearized, hmc", found.llc, found.std_error, problem.closed_llc(), started)


def by_heat_capacity(problem: Problem, quick: bool, seed: int) -> dict[str, Any]:
    started, many = time.monotonic(), {"chains": 8, "draws": 8} if quick else {"chains": 512, "draws": 300}
    found = problem.estimate(sampler="hmc", remedy="heat-capacity", seed=seed, **many)
    share = problem.n_beta * problem.curvature / (problem.n_beta * problem.curvature + GAMMA)
    return row("heat capacity", found.llc, found.std_error, float(0.5 * share.square().sum()), started)


def off_minimum(problem: Problem, quick: bool, seed: int) -> list[dict[str, Any]]:
    """λ̂ where w* is no minimum, as sampled and in the hyperplane normal to the gradient."""
    started, many = time.monotonic(), {"chains": 8, "draws": 8} if quick else {"chains": 256, "draws": 200}
    push = 0.3 * problem.jacobian @ torch.full((problem.jacobian.shape[1], 1), 0.1, dtype=torch.float64)
    moved = Problem(problem.network, problem.inputs, problem.jacobian, problem.residual + push, problem.curvature)
    zero = torch.zeros(problem.jacobian.shape[1], dtype=torch.float64)
    exact = linear_reference(moved.jacobian, moved.residual, zero, problem.n_beta, GAMMA, noise=NOISE_VARIANCE**0.5).llc
    found = moved.estimate(sampler="hmc", seed=seed, **many)
    rows = [row("w* no minimum, hmc", found.llc, found.std_error, exact, started)]
    started = time.monotonic()
    hessian = moved.jacobian.T @ moved.jacobian / (len(moved.inputs) * NOISE_VARIANCE)
    gradient = (moved.jacobian.T @ moved.residual)[:, 0]
    unit = gradient / gradient.norm()
    projector = torch.eye(len(unit), dtype=torch.float64) - torch.outer(unit, unit)
    inside = torch.linalg.eigvalsh(projector @ hessian @ projector).clamp(min=0)
    found = moved.estimate(sampler="hmc", remedy="gradient-normal", seed=seed, **many)
    exact = quadratic_llc(inside, problem.n_beta, GAMMA)
    return [*rows, row("gradient-normal, hmc", found.llc, found.std_error, exact, started)]


def by_ladder(problem: Problem, quick: bool, seed: int) -> list[dict[str, Any]]:
    """Free energies by every method, λ̂ at both temperatures: one ladder from the localizing Gaussian to β = 1."""
    started, many = time.monotonic(), {"chains": 4, "draws": 8} if quick else {"chains": 64, "draws": 300}
    found = slt.free_energy(
        problem.features, (problem.jacobian, problem.residual), slt.gaussian_loss(NOISE_VARIANCE), gamma=GAMMA,
        seed=seed, progress=False, **many,
    )  # fmt: skip
    n = len(problem.inputs)
    exact = float(0.5 * torch.log1p(n * problem.curvature / GAMMA).sum())
    rows = [row(f"free energy, {name}", *pair, exact, started) for name, pair in found.methods.items()]
    rows.append(row("λ̂ at the ladder's end", found.llc, found.llc_error, quadratic_llc(problem.curvature, n, GAMMA),
                    started))  # fmt: skip
    if found.wbic is not None:
        energy = n * found.center_loss
        exact = energy + problem.closed_llc() / (problem.n_beta / n)
        rows.append(row("WBIC - nL*", found.wbic - energy, found.wbic_error, exact - energy, started))
    return rows


def plain_langevin(problem: Problem, share: float, quick: bool, seed: int) -> dict[str, Any]:
    """SGLD with the full gradient and no preconditioner at ε = share/a_max: off by what its step makes of it."""
    started, step = time.monotonic(), share / float(problem.n_beta * problem.curvature.max() + GAMMA)
    many = {"chains": 4, "draws": 8, "warmup": 4} if quick else {"chains": 128, "draws": 2000, "warmup": 500}
    found = problem.estimate(
        sampler="sgld", preconditioner="identity", batch_size=len(problem.inputs), step_size=step, extrapolate=False,
        seed=seed, **many,
    )  # fmt: skip
    result = row(f"SGLD, ε = {share:g}/a_max", found.llc, found.std_error, problem.closed_llc(step), started)
    return {**result, "share": share, "without_step": problem.closed_llc()}


def itself(problem: Problem, quick: bool, seed: int) -> dict[str, Any]:
    """λ̂ of the network as it is, beside the closed form of its linearization."""
    started, settings = time.monotonic(), {"chains": 4, "draws": 8} if quick else {"chains": 32, "target_error": 0.01}
    targets = problem.network(problem.inputs).detach() + problem.residual
    found = slt.estimate_llc(
        problem.network, (problem.inputs, targets), slt.gaussian_loss(NOISE_VARIANCE), gamma=GAMMA, sampler="hmc",
        progress=False, seed=seed, **settings,
    )  # fmt: skip
    return row("network itself", found.llc, found.std_error, problem.closed_llc(), started)


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    widths: list[dict[str, Any]] = []
    for width in (2,) if quick else WIDTHS:
        problem = Problem.of(width, 48 if quick else SAMPLES, options.seed)

        def do(key: str, compute: Callable[..., Any], *arguments: Any, width: int = width) -> Any:
            return kept(f"{key}, width {width}, seed {options.seed}", compute, *arguments, quick, options.seed)

        samplers = ("hmc", "sgld-cv") if quick else NAMES
        estimators = [do("heat capacity", by_heat_capacity, problem), *do("off the minimum", off_minimum, problem)]
        widths.append(
            {
                "width": width,
                "dimension": problem.jacobian.shape[1],
                "samplers": [do(name, by_sampler, problem, name) for name in samplers]
                + [do("Linearized", by_linearized, problem)],
                "estimators": estimators + do("ladder", by_ladder, problem),
                "steps": [do(f"step {share}", plain_langevin, problem, share) for share in STEPS[: 1 if quick else 3]],
                "itself": do("itself", itself, problem),
            }
        )
    return {"widths": widths}


def relative(item: dict[str, Any]) -> float:
    return item["value"] / item["exact"] - 1


def judge(measured: dict[str, Any]) -> Verdict:
    checks = []
    for kind, words in (("samplers", "λ̂"), ("estimators", "other estimates"), ("steps", "plain SGLD, step and all,")):
        rows = [item for width in measured["widths"] for item in width[kind]]
        beyond = [item for item in rows if abs(relative(item)) > BOUND]
        text = f"{len(rows) - len(beyond)} of {len(rows)} {words} within 2% (all)"
        if beyond:
            text += ", beyond it " + ", ".join(
                f"{item['name']} {relative(item):+.1%} ± {item['error'] / item['exact']:.1%}" for item in beyond
            )
        checks.append((text, not beyond))
    rows = [
        item for width in measured["widths"] for kind in ("samplers", "estimators", "steps") for item in width[kind]
    ]
    surprising = [item for item in rows if abs(item["value"] - item["exact"]) > 3 * item["error"]]
    text = f"{len(rows) - len(surprising)} of {len(rows)} within three of their standard errors (all)"
    checks.append((text, not surprising))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    header = ("what", *(f"width {width['width']}, d = {width['dimension']}" for width in measured["widths"]))
    found = []
    for kind, caption in (
        (
            "samplers",
            "λ̂ by sampler: value ± standard error (relative to the closed form). Steps are the program's but for "
            f"{', '.join(BY_HAND)}, whose own are too large or too small for runs of this length.",
        ),
        ("estimators", "Other estimates, in nats."),
        ("steps", "Plain SGLD on all data without correction, relative to the closed form with its step."),
    ):
        lines = zip(*(width[kind] for width in measured["widths"]), strict=True)
        rows = [
            (line[0]["name"], *(f"{x['value']:.3f} ± {x['error']:.3f} ({relative(x):+.1%})" for x in line))
            for line in lines
        ]
        found.append(Table(header, rows, caption))
    own = [f"{relative(width['itself']):+.1%} ± {width['itself']['error'] / width['itself']['exact']:.1%}"
           for width in measured["widths"]]  # fmt: skip
    return [
        *found,
        Table(header, [("λ̂ of the network itself, beside its linearization", *own)], "Not held to a bound."),
    ]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, width=5.4, height=4.4)
    names = [item["name"] for kind in ("samplers", "estimators") for item in measured["widths"][0][kind]]
    for k, width in enumerate(measured["widths"]):
        rows = width["samplers"] + width["estimators"]
        at = [len(names) - 1 - i - 0.2 * (k - 1) for i in range(len(rows))]
        errors = [100 * item["error"] / item["exact"] for item in rows]
        axes[0].errorbar([100 * relative(item) for item in rows], at, xerr=errors, fmt="o", ms=3, lw=1,
                         label=f"width {width['width']}")  # fmt: skip
        steps = width["steps"]
        excess = [100 * (item["value"] / item["without_step"] - 1) for item in steps]
        predicted = [100 * (item["exact"] / item["without_step"] - 1) for item in steps]
        shares = [item["share"] for item in steps]
        (line,) = axes[1].plot(shares, predicted, "-", lw=1)
        errors = [100 * item["error"] / item["without_step"] for item in steps]
        axes[1].errorbar(shares, excess, yerr=errors, fmt="o", ms=4, color=line.get_color(),
                         label=f"width {width['width']}")  # fmt: skip
    axes[0].axvspan(-2, 2, color="gray", alpha=0.15)
    axes[0].set_yticks(range(len(names)), reversed(names), fontsize=7)
    axes[0].set(xlabel="estimate over closed form, % (error bars: standard errors)")
    axes[0].legend(fontsize=7)
    axes[1].set(xlabel="step of plain SGLD, ε · largest curvature", ylabel="bias of λ̂, % (lines: predicted)")
    axes[1].legend(fontsize=7)
    return figure
