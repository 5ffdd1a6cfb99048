"""Views of a series beside its curves: λ̂ against the loss, phase by phase, and free energies where there are any."""

import math
from html import escape
from pathlib import Path

import numpy as np

from samplers.errors import InputError
from slt.checkpoints import checkpoint_step
from slt.free_energies.estimate import FreeEnergyEstimate
from slt.report.svg import Chart, falls_far
from slt.trajectory import Trajectory
from slt.transitions.detection import Transition

FREE_ENERGIES = "free_energies"  # in a run folder: what `slt estimate --ladder --save` made of its checkpoints
COLORS = 6


def phase_panel(trajectory: Trajectory, transitions: list[Transition]) -> str:
    """λ̂ against the loss, a colour for each stretch between transitions; nothing where none was found."""
    usable = trajectory.usable & np.isfinite(trajectory.loss)
    if not transitions or usable.sum() < 2:
        return ""
    steps, loss, llc = trajectory.step[usable], trajectory.loss[usable], trajectory.llc[usable]
    chart = Chart.of(loss, llc, "λ̂ against the loss, a colour for each phase", height=340, log_x=falls_far(loss))
    chart.line(loss, llc, "path")
    phase = np.searchsorted(np.sort([item.middle for item in transitions]), steps)
    for step, across, up, number in zip(steps, loss, llc, phase, strict=True):
        words = f"step {step}, phase {number + 1}: loss {across:.4g}, λ̂ = {up:.4g}"
        chart.point(float(across), float(up), f"point phase p{number % COLORS}", words, f"step-{step}")
    legend = " ".join(
        f'<span class="key phase p{number % COLORS}"></span> steps {steps[phase == number][0]} to '
        f"{steps[phase == number][-1]}"
        for number in np.unique(phase)
    )
    return f'<h2>Phases</h2>{chart.svg("loss L(w*), nats per sample")}<p class="legend">{legend}</p>'


def free_energy_panel(folder: Path, trajectory: Trajectory) -> str:
    """The free energies nβ L* + F of the checkpoints that have one in `folder`/free_energies, with 95% intervals."""
    found: dict[int, FreeEnergyEstimate] = {}
    passed_over = []
    for path in sorted((folder / FREE_ENERGIES).glob("*")):
        try:
            estimate = FreeEnergyEstimate.load(path)
        except InputError:
            passed_over.append(escape(path.name))
            continue
        step = checkpoint_step(estimate.checkpoint) if estimate.checkpoint else None
        if step is not None and step in trajectory.step:
            found[step] = estimate
        else:
            passed_over.append(escape(path.name))
    if not found:
        return ""
    steps = sorted(found)
    scales = {(found[step].beta, found[step].gamma) for step in steps}
    total = np.array([found[step].total for step in steps])
    half = np.array([1.96 * found[step].std_error for step in steps])
    chart = Chart.of(steps, [*(total - half), *(total + half)], "free energy nβ L* + F, nats, with 95% intervals",
                     height=260, log_x=min(steps) > 0 and max(steps) > 30 * min(steps))  # fmt: skip
    chart.band(steps, total - half, total + half, "band")
    chart.line(steps, total, "curve llc")
    for step, value in zip(steps, total, strict=True):
        words = f"step {step}: {value:.5g} ± {found[step].std_error:.2g} nats, WBIC {_number(found[step].wbic)}"
        chart.point(float(step), float(value), f"point {found[step].status}", words, f"step-{step}")
    notes = []
    if len(scales) > 1:
        notes.append("These were made at different β or γ and do not compare.")
    if passed_over:
        notes.append(f"Passed over, no free energies of these checkpoints: {', '.join(passed_over)}.")
    said = "".join(f'<p class="legend">{note}</p>' for note in notes)
    return f"<h2>Free energies</h2>{chart.svg('training step')}{said}"


def _number(value: float | None) -> str:
    return "not reached" if value is None or not math.isfinite(value) else f"{value:.5g}"
