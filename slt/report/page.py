"""`slt report`: the results of a series as one HTML page that needs nothing else."""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.files import written_whole
from slt.llc.draws import llc_draws
from slt.llc.estimate import Estimate
from slt.report.panels import free_energy_panel, phase_panel
from slt.report.style import SCRIPT, STYLE
from slt.report.svg import Chart, falls_far, thinned
from slt.series.folder import RunFolder
from slt.trajectory import Trajectory, read_trajectory
from slt.transitions.detection import LEAST, Transition, find_transitions

REMEDIED = {
    "gradient-normal": "Chains stay in the hyperplane through w* normal to the gradient there (gradient-normal).",
    "heat-capacity": "λ̂ is the heat capacity (nβ)² Var L (heat-capacity).",
}
TRACE_POINTS = 120  # of a chain, in a checkpoint's panel


def write_report(run: str | Path, path: str | Path | None = None) -> Path:
    """Write the page for the results in `run` (a folder of `slt track` or `slt.Tracker`, finished or not).

    The default path is `run`/report.html. On the page: λ̂ with 95% intervals and the loss over the steps, on a
    logarithmic and a linear axis, transitions marked; a panel for each checkpoint, opened by a click on its point; the
    transitions and all numbers as tables; λ̂ against the loss, phase by phase; free energies, where the folder's
    `free_energies` holds what `slt estimate --ladder --save` made of its checkpoints; the settings. Raises InputError
    where there are no results yet.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the -o folder of slt track")
    path = folder / "report.html" if path is None else Path(path)
    trajectory = read_trajectory(folder)
    about = _about(folder)
    page = _page(trajectory, _transitions(folder, trajectory), about, folder)
    with written_whole(path) as partial:
        partial.write_text(page)
    return path


def _about(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "series.json").read_text())
    except (OSError, ValueError):
        return {}


def _transitions(folder: Path, trajectory: Trajectory) -> list[Transition]:
    """Those in the folder, if they are of this trajectory; else found now."""
    made, seen = folder / "transitions.json", folder / "trajectory.nc"
    if made.exists() and made.stat().st_mtime_ns >= seen.stat().st_mtime_ns:
        return RunFolder(folder).read_transitions()
    return find_transitions(trajectory) if trajectory.usable.sum() >= LEAST else []


def _page(trajectory: Trajectory, transitions: list[Transition], about: dict[str, Any], folder: Path) -> str:
    plan = about.get("plan", [])
    usable, total = int(trajectory.usable.sum()), max(len(plan), len(trajectory.step))
    unfinished = "" if total == len(trajectory.step) else f" — unfinished: {len(trajectory.step)} of {total} done"
    scale = f"n = {trajectory.n:.0f}, β = {trajectory.beta:.4g}, γ = {trajectory.gamma:.4g}"
    body = [
        f"<h1>Learning coefficient over training{unfinished}</h1>",
        f"<p>{usable} of {len(trajectory.step)} checkpoints have a number, all at {scale}. {_of(about)}</p>",
        _charts(trajectory, transitions),
        _transition_table(transitions),
        phase_panel(trajectory, transitions),
        free_energy_panel(folder, trajectory),
        _number_table(trajectory),
        "<h2>Checkpoints</h2>",
        *(_panel(trajectory, i, _estimate(folder, plan, int(trajectory.step[i]))) for i in range(len(trajectory.step))),
        _provenance(about),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    title = f"<title>λ̂ · {escape(folder.resolve().name)}</title>"
    script = f"<script>{SCRIPT}</script>"
    return f'<!doctype html><html lang="en"><head>{head}{title}</head><body>{"".join(body)}{script}</body></html>\n'


def _of(about: dict[str, Any]) -> str:
    if "folder" not in about:
        return ""
    words = f"Checkpoints in <code>{escape(about['folder'])}</code>, task <code>{escape(about['task'])}</code>."
    return f"{words} {REMEDIED.get(about.get('settings', {}).get('remedy'), '')}"


def _charts(trajectory: Trajectory, transitions: list[Transition]) -> str:
    views = []
    for log in (True, False):
        steps, llc = trajectory.step.astype(float), np.where(trajectory.usable, trajectory.llc, np.nan)
        half = 1.96 * np.nan_to_num(trajectory.std_error)
        upper = Chart.of(steps, [*(llc - half), *(llc + half)], "λ̂, with 95% intervals", height=340, log_x=log)
        loss = trajectory.loss
        lower = Chart.of(steps, loss, "loss L(w*), nats per sample", height=240, log_x=log, log_y=falls_far(loss))
        for chart in (upper, lower):
            for item in transitions:
                chart.span(item.start, item.end, f"move {item.direction}", str(item))
        upper.band(steps, llc - half, llc + half, "band")
        upper.line(steps, llc, "curve llc")
        lower.line(steps, loss, "curve loss")
        for i, step in enumerate(trajectory.step):
            status = trajectory.status[i]
            words = f"step {step}: λ̂ = {trajectory.llc[i]:.4g} ± {trajectory.std_error[i]:.2g}, {status}"
            upper.point(float(step), float(llc[i]), f"point {status}", words, f"step-{step}")
            if math.isfinite(loss[i]):
                lower.point(
                    float(step), float(loss[i]), "point loss", f"step {step}: loss {loss[i]:.4g}", f"step-{step}"
                )
        axis = "training step, logarithmic" if log else "training step"
        views.append(f'<div class="{"log" if log else "linear"}">{upper.svg()}{lower.svg(axis)}</div>')
    choice = "".join(
        f'<input type="radio" name="axis" id="{name}"{checked}><label for="{name}">{name} axis</label>'
        for name, checked in (("log", " checked"), ("linear", ""))
    )
    legend = (
        '<p class="legend"><span class="key up"></span> λ̂ goes up <span class="key down"></span> λ̂ goes down '
        "· points: full ok, hollow warning, red at the bottom without a usable number; click one for its panel</p>"
    )
    return f'<section class="charts">{choice}{"".join(views)}{legend}</section>'


def _table(columns: list[str], rows: list[list[str]], name: str) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    copy = f'<button type="button" data-copy="{name}">copy</button>'
    return (
        f'{copy}<div class="wide"><table id="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _transition_table(transitions: list[Transition]) -> str:
    if not transitions:
        return "<h2>Transitions</h2><p>None found.</p>"
    columns = [
        "kind",
        "change of λ̂",
        "from step",
        "to step",
        "middle (90%)",
        "turns at",
        "confidence",
        "λ̂ before loss, steps",
    ]
    rows = []
    for item in transitions:
        low, high = item.middle_interval
        lead = "" if item.lead is None or item.lead_interval is None else (
            f"{item.lead:.0f} ({item.lead_interval[0]:.0f} to {item.lead_interval[1]:.0f})"
        )  # fmt: skip
        turn = "" if item.turn is None else f"{item.turn:.0f}"
        middle = f"{item.middle:.0f} ({low:.0f} to {high:.0f})"
        cells = [
            item.kind,
            f"{item.change:+.3g} ± {item.change_error:.2g}",
            f"{item.start:.0f}",
            f"{item.end:.0f}",
            middle,
            turn,
        ]
        rows.append([*cells, f"{item.confidence:.2f}", lead])
    return f"<h2>Transitions</h2>{_table(columns, rows, 'transitions')}"


def _number_table(trajectory: Trajectory) -> str:
    columns = ["step", "loss", "λ̂", "± std error", "R-hat", "ESS", "status", "checkpoint"]
    rows = [
        [
            str(row["step"]),
            *(f"{row[name]:.5g}" for name in ("loss", "llc")),
            *(f"{row['std_error']:.2g}", f"{row['rhat']:.3f}", f"{row['ess']:.0f}"),
            row["status"],
            Path(row["checkpoint"]).name,
        ]
        for row in trajectory.rows()
    ]
    return f"<details><summary>All numbers</summary>{_table(columns, rows, 'numbers')}</details>"


def _estimate(folder: Path, plan: list[Any], step: int) -> Estimate | None:
    key = next((item["key"] for item in plan if item["step"] == step and item["key"]), None)
    return None if key is None else RunFolder(folder).load(step, key)


def _panel(trajectory: Trajectory, i: int, estimate: Estimate | None) -> str:
    step, status = int(trajectory.step[i]), trajectory.status[i]
    title = f"step {step}: {status}"
    if status != "skipped":
        title = f"step {step}: λ̂ = {trajectory.llc[i]:.4g} ± {trajectory.std_error[i]:.2g}, {status}"
    words = [f"<p>{escape(reason)}</p>" for reason in filter(None, trajectory.reasons[i].split("; "))]
    words.append(f"<p><code>{escape(trajectory.checkpoint[i])}</code></p>")
    if estimate is not None:
        words.append(f"<pre>{escape(str(estimate))}</pre>{_traces(estimate)}")
        words.append("<ul>" + "".join(f"<li>{escape(choice)}</li>" for choice in estimate.choices) + "</ul>")
    return f'<details id="step-{step}" class="{status}"><summary>{escape(title)}</summary>{"".join(words)}</details>'


def _traces(estimate: Estimate) -> str:
    draws = llc_draws(estimate.trace, estimate.n * estimate.beta)
    shown, index = thinned(draws, TRACE_POINTS)
    steps = [index(k) for k in range(shown.shape[1])]
    chart = Chart.of(steps, shown.ravel().tolist(), "n·β·(L(w) − L(w*)) of each chain, nats", width=1040, height=220)
    if estimate.trace.warmup:
        chart.span(0, estimate.trace.warmup, "warmup", "warm-up, left out")
    for k, chain in enumerate(shown):
        chart.line(steps, chain.tolist(), f"chain c{k % 8}")
    return chart.svg("draw")


def _provenance(about: dict[str, Any]) -> str:
    kept = {name: value for name, value in about.items() if name != "plan"}
    if not kept:
        return ""
    text = escape(json.dumps(kept, indent=2, ensure_ascii=False))
    return f"<details><summary>Settings and provenance</summary><pre>{text}</pre></details>"
