"""λ̂ of deep linear networks against Aoyagi's λ over random architectures, ours and devinterp's on the same weights.

Architectures: 2 to 4 layers, random widths, rank and number of weights: a hundred from 1,000 to 10,000, and one each of
30,000, 100,000, 300,000 and a million. Loss: that of the population for whitened inputs and unit noise,
½ ‖W_L ... W_1 - C‖², so that any n costs the same. w* is a random point of a component of {W_L ... W_1 = C} of largest
dimension: there λ is half its codimension, Aoyagi's λ, and m is 1.

β = 1/log n throughout. Ours: n = 10⁷ and a γ whose localizing Gaussian reaches 15% of |w*|, HMC, four chains of at most
1,500 gradients, above 3,000 weights 4,000, and above 20,000 two such chains. devinterp 1.3.2: its authors' γ = 1 and
n = 10⁶, SGLD from w*, all of the loss in every step (on H_0 whitened inputs the mean loss is the population's), in
steps of a fixed share of the stability limit at w*, found from the Hessian for it: the best share of a sweep. Its two
chains make 2,000 steps, which takes about as long as our estimate of networks below 3,000 weights, the larger take us
longer; the authors' make 5·10⁴ and more, so that this compares errors at nearly equal time, not the best that SGLD can
do.
γ = 1 puts the localizer √d from w*, where these networks have curvatures thousands of times that at w*: a chain of any
sampler that gets there answers for another place, and short chains from w* have not been there.

The reference of the last table is ½ Σ nβh/(nβh + γ), h the curvature at w*: what a finite n and γ leave of λ to second
order.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.deep_linear_architectures import Chain, architecture, chain, largest_curvature, product
from benchmarks.harness import About, Kept, Table, Verdict, verdict_of
from benchmarks.peers.client import Peer, PeerError, missing
from benchmarks.peers.spec import Spec
from slt.exact import families
from slt.linearized import quadratic_llc
from slt.llc.estimation import estimate_potential
from slt.settings import default_gamma

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = About(
    title="Deep linear networks: λ̂ against Aoyagi's λ over random architectures",
    claim="The estimate follows the exact λ over architectures, depths and ranks; so does SGLD with its step tuned.",
    source="Lau et al. 2023; Furman & Lau 2024; Aoyagi 2024",
    target="Median relative error at most 5%, 95% of at least 100 architectures within 15%, no worse than devinterp on "
    "the same.",
    criterion="Reproduced if all three hold; partly if some do. Networks of 10³ to 10⁶ weights, most of them below "
    "10⁴: theirs reach 10⁸, whose chains take hours on a CPU.",
    duration="40 minutes",
    peers=("devinterp-1",),
)
SAMPLES, RADIUS = 10**7, 0.15  # ours
THEIR_SAMPLES, THEIR_GAMMA, THEIR_STEPS, THEIR_CHAINS = 10**6, 1.0, 2000, 2
THEIR_STEP, STEPS_SWEPT, SWEPT = 0.2, (0.05, 0.1, 0.4, 0.8), 20  # of the stability limit; networks of the sweep
ARCHITECTURES = 100
FEWEST, RANGE = 1000, 12  # weights: from FEWEST to RANGE times as many
LARGE = (30_000, 100_000, 300_000, 1_000_000)  # weights of single networks
# Weights above which there are so many chains of so many gradients: the larger, the farther the way from the localizer.
CHAINS_AND_STEPS = {0: (4, 1500), 3_000: (4, 4000), 20_000: (2, 4000)}
HESSIAN_LIMIT = 1100  # weights up to which the Hessian is formed
MEDIAN, WITHIN, SHARE = 0.05, 0.15, 0.95


def ours(network: Chain, quick: bool, seed: int) -> dict[str, Any]:
    started, w = time.process_time(), network.center
    chains, most = _chains_and_steps(network)
    knobs: dict[str, Any] = {"chains": chains, "target_error": 0.02, "max_steps": most}
    if quick:
        knobs = {"chains": 4, "draws": 8, "warmup": 4}
    n, gamma = 1000 if quick else SAMPLES, default_gamma(w, RADIUS)
    found = estimate_potential(network.potential, w, n, gamma=gamma, sampler="hmc", seed=seed, progress=False, **knobs)
    quadratic = None
    if len(w) <= HESSIAN_LIMIT and not quick:
        curvature = torch.linalg.eigvalsh(torch.func.hessian(network.potential)(w)).clamp(min=0)
        quadratic = quadratic_llc(curvature, n / math.log(n), gamma)
    return {
        "llc": found.llc, "std_error": found.std_error, "status": found.status, "gamma": gamma,
        "quadratic": quadratic, "seconds": time.process_time() - started,
    }  # fmt: skip


def _chains_and_steps(network: Chain) -> tuple[int, int]:
    return next(sizes for least, sizes in reversed(CHAINS_AND_STEPS.items()) if len(network.center) > least)


def theirs(network: Chain, peer: Peer, quick: bool, seed: int, share: float = THEIR_STEP) -> dict[str, Any]:
    """devinterp's estimate; its own message where it fails."""
    n_beta = THEIR_SAMPLES / math.log(THEIR_SAMPLES)
    step = 4 * share / (n_beta * largest_curvature(network) + THEIR_GAMMA)
    steps = 10 if quick else THEIR_STEPS
    spec = Spec(
        "mlp", {"widths": list(network.widths), "activation": "identity", "bias": False}, n_beta, THEIR_GAMMA, step,
        chains=THEIR_CHAINS, draws=steps // 2, burn_in=steps // 2, dtype="float64", seed=seed,
    )  # fmt: skip
    inputs = math.sqrt(network.widths[0]) * torch.eye(network.widths[0], dtype=torch.float64)
    targets = inputs @ product(network.layers).T
    names = [f"{2 * i}.weight" for i in range(len(network.layers))]
    try:
        answer = peer.estimate(spec, dict(zip(names, network.layers, strict=True)), inputs, targets)
    except PeerError as error:
        return {"error": str(error).splitlines()[0][:200], "step_size": step}
    llc = answer.llc if math.isfinite(answer.llc) else None
    return {"llc": llc, "std": answer.std, "seconds": answer.seconds, "step_size": step}


def run(quick: bool, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    count = 3 if quick else ARCHITECTURES
    sizes = [(40, 2)] * count if quick else [(FEWEST, RANGE)] * count + [(weights, 1) for weights in LARGE]
    peer = None if quick or missing("devinterp-1") else Peer("devinterp-1")
    rows: list[dict[str, Any]] = []
    for index, size in enumerate(sizes):
        widths, rank = architecture(index, options.seed, *size)
        network = chain(widths, rank, torch.Generator().manual_seed(index))
        key = f"{'-'.join(map(str, widths))} rank {rank}, seed {options.seed}"
        exact = families.deep_linear(widths, rank)
        row = {
            "widths": widths,
            "rank": rank,
            "weights": len(network.center),
            "exact": float(exact.learning_coefficient),
        }
        chains, most = _chains_and_steps(network)
        row["ours"] = kept(f"{key}, ours, {chains} × {most}", ours, network, quick, options.seed)
        row["devinterp"] = (
            kept(f"{key}, devinterp, {THEIR_STEPS} steps", theirs, network, peer, quick, options.seed) if peer else None
        )
        if peer and index < SWEPT:
            row["sweep"] = {
                str(share): kept(
                    f"{key}, devinterp at {share}, {THEIR_STEPS} steps",
                    theirs,
                    network,
                    peer,
                    quick,
                    options.seed,
                    share,
                )
                for share in STEPS_SWEPT
            }
        rows.append(row)
    if peer:
        peer.close()
    return {"rows": rows}


def errors(rows: list[dict[str, Any]], who: str) -> list[float]:
    """Relative errors of those that have a number; λ = 0 (rank 0 where all is killed) has none."""
    found = [row for row in rows if row[who] and row[who].get("llc") is not None and row["exact"] > 0]
    return [row[who]["llc"] / row["exact"] - 1 for row in found]


def summary(rows: list[dict[str, Any]], who: str) -> tuple[float, float] | None:
    """Median of |relative error| over those with a number, and the share of all rows within 15%."""
    found = [abs(error) for error in errors(rows, who)]
    return (median(found), sum(error <= WITHIN for error in found) / len(rows)) if found else None


def judge(measured: dict[str, Any]) -> Verdict:
    rows = measured["rows"]
    middle, share = summary(rows, "ours") or (math.inf, 0.0)
    checks = [
        (f"median relative error {middle:.1%} (at most 5%)", middle <= MEDIAN),
        (f"{share:.0%} of {len(rows)} architectures within 15% (at least 95%)", share >= SHARE),
    ]
    them = summary(rows, "devinterp")
    if them:
        text = f"devinterp's median {them[0]:.1%}, {them[1]:.0%} within 15% (ours no worse)"
        checks.append((text, middle <= them[0] and share >= them[1]))
    else:
        checks.append(("devinterp not installed: `make peers`", False))
    return verdict_of(checks)


def tables(measured: dict[str, Any]) -> list[Table]:
    rows, found = measured["rows"], []
    bins = [
        ("all", 0, math.inf),
        ("under 3,000", 0, 3000),
        ("3,000 to 15,000", 3000, 15_000),
        ("more", 15_000, math.inf),
    ]
    for name, low, high in bins:
        mine = [row for row in rows if low <= row["weights"] < high]
        if not mine:
            continue
        cells = [name, str(len(mine)), f"{min(row['exact'] for row in mine):g} to {max(r['exact'] for r in mine):g}"]
        for who in ("ours", "devinterp"):
            result = summary(mine, who)
            if result is None:
                cells += [""] * 3
                continue
            seconds = median(row[who]["seconds"] for row in mine if row[who] and "seconds" in row[who])
            cells += [f"{result[0]:.1%}", f"{result[1]:.0%}", f"{seconds:.1f}"]
            if who == "ours":
                cells += [str(sum(row["ours"]["status"] == status for row in mine)) for status in ("failed", "warning")]
        found.append(tuple(cells))
    header = ("weights", "networks", "λ", "median |error|", "within 15%", "seconds", "said failed", "a warning",
              "devinterp: median |error|", "within 15%", "seconds")  # fmt: skip
    known = [row for row in rows if row["ours"]["quadratic"]]
    tail = []
    if known:
        ratio = median(row["ours"]["quadratic"] / row["exact"] for row in known if row["exact"])
        z = [(row["ours"]["llc"] - row["ours"]["quadratic"]) / row["ours"]["std_error"] for row in known]
        tail = [
            Table(
                ("networks", "median of reference / λ", "median z of λ̂ against the reference"),
                [(str(len(known)), f"{ratio:.3f}", f"{median(z):+.1f}")],
                "The finite n and γ: reference ½ Σ nβh/(nβh + γ), where the Hessian was formed. z: by errors as above.",
            )
        ]
    caption = (
        "Errors relative to Aoyagi's λ; seconds of one network, medians. devinterp's chains are short: equal time "
        "below 3,000 weights, less than ours above. Ours are too: by their own verdict the chains still disagree "
        "(failed) or have few effective draws (a warning), and their standard errors mean little."
    )
    return [Table(header, found, caption), *_sweep(rows), *tail]


def _sweep(rows: list[dict[str, Any]]) -> list[Table]:
    """devinterp at other step sizes, on the networks that have them."""
    mine = [row for row in rows if row.get("sweep")]
    if not mine:
        return []
    cells = []
    for share in sorted((THEIR_STEP, *STEPS_SWEPT)):
        at = [{**row, "then": row["devinterp"] if share == THEIR_STEP else row["sweep"][str(share)]} for row in mine]
        found = summary(at, "then")
        cells.append((f"{share:g}", *((f"{found[0]:.1%}", f"{found[1]:.0%}") if found else ("no number", "0%"))))
    header = ("step, of the stability limit", "median |error|", "within 15%")
    return [Table(header, cells, f"devinterp's step size, on the first {len(mine)} networks.")]


def draw(measured: dict[str, Any]) -> Figure:
    from benchmarks import figures

    figure, axes = figures.new(2, height=4.2)
    rows = measured["rows"]
    low, high = min(row["exact"] for row in rows if row["exact"] > 0), max(row["exact"] for row in rows)
    for who, label, mark in (("devinterp", "devinterp 1.3.2, γ = 1", "x"), ("ours", "slt", "o")):
        mine = [row for row in rows if row[who] and row[who].get("llc") and row["exact"] > 0]
        if not mine:
            continue
        exact = [row["exact"] for row in mine]
        axes[0].loglog(exact, [max(row[who]["llc"], low / 3) for row in mine], mark, ms=4, mfc="none", label=label)
        error = [100 * (row[who]["llc"] / row["exact"] - 1) for row in mine]
        clipped = [min(max(value, -40), 40) for value in error]
        axes[1].semilogx([row["weights"] for row in mine], clipped, mark, ms=4, mfc="none", label=label)
    axes[0].plot([low, high], [low, high], color="gray", lw=1)
    axes[0].set(xlabel="λ (Aoyagi 2024)", ylabel="λ̂")
    axes[1].axhspan(-15, 15, color="gray", alpha=0.15)
    axes[1].set(xlabel="weights", ylabel="error of λ̂, % (±40 and beyond at the edge)")
    axes[0].legend(fontsize=8)
    return figure
