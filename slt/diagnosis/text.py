"""A diagnosis in the terminal: tables and small pictures made of characters, at most 100 columns wide."""

import io
import math
from collections.abc import Iterator

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slt.diagnosis.diagnosis import STRANGE_Z, ChainCheck, Diagnosis
from slt.llc.estimate import Estimate
from slt.scale.curve import ScaleCurve, ScalePoint

WIDTH = 100
SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 26
MOST_CHAINS = 12
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
LABELS = {
    "llc": "n·beta·(L(w) - L(w*)), its mean is llc",
    "distance": "|w - w*|",
    "energy": "energy n·beta·(L - L*) + gamma/2·|w - w*|²",
    "acceptance": "acceptance",
}


def render(diagnosis: Diagnosis, name: str | None = None) -> Iterator[RenderableType]:
    """The parts of the dashboard, to be printed one after the other; `name` is what the run is called."""
    estimate = diagnosis.estimate
    yield _heading(estimate, name)
    if diagnosis.quantities:
        yield _section("over all chains")
        yield _quantities(diagnosis)
        yield Padding(_distance(diagnosis), (0, 0, 0, 2), expand=False)
    yield _section("chain by chain")
    yield _chains(diagnosis)
    yield _section("cross-checks")
    for line in estimate.cross_checks:
        yield _item(line)
    for curve in diagnosis.curves.values():
        yield _section(f"llc over {curve.knob}, chosen {curve.chosen:.4g}")
        yield from _curve(curve)
    yield _section("verdict")
    yield Padding(Text(estimate.status, style=f"bold {COLOURS[estimate.status]}"), (0, 0, 0, 2), expand=False)
    for line in (*estimate.reasons, *estimate.remarks):
        yield _item(line)
    yield _section("what to do next")
    for line in diagnosis.next_steps:
        yield _item(line)


def as_text(diagnosis: Diagnosis, name: str | None = None, width: int = WIDTH) -> str:
    """The dashboard as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    for part in render(diagnosis, name):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def sparkline(values: np.ndarray, low: float, high: float, width: int = SPARK_WIDTH) -> str:
    """Values (draw,) as `width` characters, each the mean of its share of the draws; '!' where they are not finite."""
    line = ""
    for part in np.array_split(values, min(width, len(values))):
        if not np.isfinite(part).all():
            line += "!"
        elif high > low:
            line += SPARK[int(np.clip((part.mean() - low) / (high - low) * len(SPARK), 0, len(SPARK) - 1))]
        else:
            line += SPARK[0]
    return line


def _heading(estimate: Estimate, name: str | None) -> Text:
    low, high = estimate.interval
    text = Text()
    if name or estimate.checkpoint:
        text.append(" ".join(filter(None, [name, f"({estimate.checkpoint})" if estimate.checkpoint else ""])) + "\n")
    text.append(f"llc = {estimate.llc:.4g} ± {estimate.std_error:.2g}", style="bold")
    text.append(f" (95%: {low:.4g} to {high:.4g}) at n·beta = {estimate.n * estimate.beta:.4g}, ")
    text.append(f"gamma = {estimate.gamma:.4g}, n = {estimate.n:,}\n")
    if estimate.step_error is not None:
        text.append(
            f"(the bias of the step, {estimate.step_error.shift:+.2g}, is taken out of llc, not of the draws)\n"
        )
    batch = "all samples" if estimate.batch_size >= estimate.n else f"minibatches of {estimate.batch_size}"
    text.append(
        f"{estimate.sampler} on {batch}, {estimate.dimension:,} weights, {estimate.chains} chains × {estimate.draws} "
        f"draws after {estimate.warmup} of warm-up, {estimate.seconds:.1f} s, seed {estimate.seed}"
    )
    return text


def _section(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _item(line: str) -> Padding:
    table = Table.grid(padding=(0, 1))
    table.add_row("-", Text(line))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def _quantities(diagnosis: Diagnosis) -> Padding:
    table = _table("quantity", "mean ± error", "sd", "R-hat", "ESS", left=("quantity",))
    for q in diagnosis.quantities:
        table.add_row(
            LABELS[q.name], f"{q.mean:.4g} ± {q.std_error:.2g}", f"{q.std:.3g}", f"{q.rhat:.3f}", f"{q.ess:.0f}"
        )
    return Padding(table, (0, 0, 0, 2), expand=False)


def _distance(diagnosis: Diagnosis) -> Text:
    line = (
        f"the chains are at {diagnosis.distance:.4g} from w* (root mean square), the localizing Gaussian alone reaches "
        f"{diagnosis.localizer:.4g}: the loss "
    )
    if diagnosis.confined > 0.01:
        return Text(f"{line}takes {diagnosis.confined:.1%} off the squared distance")
    return Text(f"{line}leaves nearly every direction to it")


def _chains(diagnosis: Diagnosis) -> Padding:
    draws, start = diagnosis.draws("llc"), diagnosis.estimate.trace.warmup
    finite = draws[np.isfinite(draws)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 0.0)
    spark = f"trace of n·beta·(L - L*),\n{low:.3g} to {high:.3g}"
    columns = ["chain", "llc ± error", "z to the\nothers", "R-hat\nwithout", "|w-w*|", "energy", "accep-\ntance"]
    table = _table(*columns, spark, left=(spark,))
    shown = sorted(diagnosis.chains, key=lambda c: (c.lost_at is None, -abs(np.nan_to_num(c.z))))[:MOST_CHAINS]
    for c in sorted(shown, key=lambda c: c.chain):
        style = "red" if c.lost_at is not None or abs(c.z) > STRANGE_Z else ""
        table.add_row(*_chain_row(c), _split_sparkline(draws[c.chain], start, low, high), style=style)
    parts: list[RenderableType] = [table]
    if len(shown) < len(diagnosis.chains):
        parts.append(Text(f"the {len(shown)} furthest from the others, of {len(diagnosis.chains)} chains"))
    sound = draws[[c.chain for c in diagnosis.chains if c.lost_at is None], start:]
    if sound.size:
        mean = sound.mean(0).cumsum() / np.arange(1, sound.shape[1] + 1)
        around = max(5 * np.nan_to_num(diagnosis.estimate.std_error), 1e-3 * abs(float(mean[-1])))
        low, high = float(mean[-1] - around), float(mean[-1] + around)
        if start:
            parts.append(Text("| in a trace: the warm-up ends"))
        parts.append(Text(f"running mean of all chains, {low:.4g} to {high:.4g}: {sparkline(mean, low, high, 40)}"))
    return Padding(Group(*parts), (0, 0, 0, 2), expand=False)


def _chain_row(c: ChainCheck) -> list[str]:
    if c.lost_at is not None:
        return [str(c.chain), f"lost at draw {c.lost_at}", "", "", "", "", ""]
    accept = "-" if math.isnan(c.acceptance) else f"{c.acceptance:.2f}"
    z = "-" if math.isnan(c.z) else f"{c.z:+.1f}"
    rhat = "-" if math.isnan(c.rhat_without) else f"{c.rhat_without:.3f}"
    value = f"{c.llc:.4g} ± {c.std_error:.2g}"
    return [str(c.chain), value, z, rhat, f"{c.distance:.4g}", f"{c.energy:.4g}", accept]


def _split_sparkline(values: np.ndarray, start: int, low: float, high: float) -> str:
    """A sparkline with a bar where the warm-up ends."""
    if not start or start >= len(values):
        return sparkline(values, low, high)
    width = int(np.clip(round(SPARK_WIDTH * start / len(values)), 1, SPARK_WIDTH - 2))
    return sparkline(values[:start], low, high, width) + "|" + sparkline(values[start:], low, high, SPARK_WIDTH - width)


def _curve(curve: ScaleCurve) -> Iterator[RenderableType]:
    if len(curve.points) > 1:
        table = _table(curve.knob, "of chosen", "llc ± error", "change", "how", "", left=("how", ""))
        reached = [p.llc for p in curve.points if p.status != "failed" and math.isfinite(p.llc)]
        top = max([*reached, 0.0])
        for point in curve.points:
            table.add_row(*_point_row(curve, point, top), style="bold" if point.source == "run" else "")
        yield Padding(table, (0, 0, 0, 2), expand=False)
    unknown = "" if curve.slope else " (losses of minibatches cannot be reweighted in beta: their noise is in the way)"
    slope = "" if curve.slope is None else f"d log llc / d log {curve.knob} = {curve.slope}: "
    yield Padding(Text(f"{slope}{curve}{unknown}"), (0, 0, 0, 2), expand=False)


def _point_row(curve: ScaleCurve, point: ScalePoint, top: float) -> list[str]:
    how = {"run": "this run", "reweighted": f"reweighted, {point.share:.0%} effective", "sampled": "sampled"}[
        point.source
    ]
    if point.status != "ok":
        how += f" ({point.status})"
    low, high = curve.plateau or (math.inf, -math.inf)
    if low * (1 - 1e-9) <= point.factor * curve.chosen <= high * (1 + 1e-9):
        how += ", plateau"
    known = point.source != "run" and math.isfinite(point.change.value)
    change = f"{math.expm1(point.change.value):+.0%}" if known else ""
    usable = point.status != "failed" and point.llc > 0 and top > 0
    bar = "█" * max(1, round(16 * point.llc / top)) if usable else ""
    value = f"{point.llc:.4g} ± {point.std_error:.2g}"
    return [f"{point.factor * curve.chosen:.4g}", f"× {point.factor:.3g}", value, change, how, bar]
