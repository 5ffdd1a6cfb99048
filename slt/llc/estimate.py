"""Estimate: a learning coefficient with its error, its diagnostics and a verdict in words."""

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from samplers.errors import InputError
from samplers.trace import Trace
from slt.files import written_whole
from slt.llc.draws import llc_draws
from slt.llc.minimum import MinimumCheck
from slt.llc.sensitivity import Sensitivity
from slt.llc.step_error import StepError
from slt.records import from_record, to_record

Status = Literal["ok", "warning", "failed"]
_ESTIMATE = "estimate"  # the attribute of a netCDF file of draws that holds the estimate made of them

JSON_KEYS = (
    "llc", "std_error", "interval", "rhat", "ess", "status", "reasons", "n", "beta", "gamma", "step_size", "chains",
    "warmup", "draws", "sampler", "seed", "seconds", "checkpoint", "dimension", "center_loss", "batch_size", "thin",
    "preconditioner", "acceptance", "evaluation", "dtype", "gradients", "gradient_norm", "gradient_noise", "shift",
    "heat_capacity", "beta_slope", "gamma_slope", "choices", "remarks", "step_shift", "step_shift_error", "stiffness",
    "overhead", "remedy",
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """λ̂ = nβ (E[L(w)] - L(w*)) at one checkpoint, at the scale (β, γ), with what is known of its error.

    `std_error` is the standard error, of Monte Carlo and of what the step size may still bias, and `interval` the 95%
    interval it gives; `rhat` and `ess` are the rank-normalized split R-hat and the bulk effective sample size of the
    draws after warm-up. `step_error` is the bias of the step that was measured and taken out of λ̂ (None: a kernel
    without one); the trace still has it. `heat` is the heat capacity (nβ)² Var L, a second estimate of λ that needs no
    L(w*), equal to it on a plateau. `status` is 'ok',
    'warning' or 'failed', `reasons` say why in words. `minimum` is what the gradient at w* says of it, `sensitivity`
    (full-data runs only) how λ̂ would change with β and γ, `choices` what the program chose, each with its reason,
    `remarks` what did not go as planned without harm to the number (memory that ran out, a model that does not
    compile). `remedy` is what was done about a w* that is no minimum. `gradients` is what the run took per chain,
    `preparation` the part of it that made no draw. Losses are in nats; λ̂ has no unit.
    """

    llc: float
    std_error: float
    interval: tuple[float, float]
    rhat: float
    ess: float
    status: Status
    reasons: list[str]
    n: int
    beta: float
    gamma: float
    step_size: float
    chains: int
    warmup: int
    draws: int
    sampler: str
    seed: int
    seconds: float
    checkpoint: str | None
    dimension: int
    center_loss: float
    batch_size: int
    thin: int
    preconditioner: str
    acceptance: float
    evaluation: str
    dtype: str
    gradients: int
    minimum: MinimumCheck
    sensitivity: Sensitivity | None
    choices: tuple[str, ...]
    trace: Trace = field(repr=False)
    remarks: tuple[str, ...] = ()
    step_error: StepError | None = None
    heat: float = math.nan
    heat_error: float = math.nan
    preparation: int = 0
    remedy: str | None = None

    @property
    def overhead(self) -> float:
        """Share of the gradients that made no draw: warm-up, tuning, and the second look at the step size."""
        return self.preparation / self.gradients if self.gradients else math.nan

    @property
    def cross_checks(self) -> tuple[str, ...]:
        """The other readings of the same draws and of w*, in words."""
        m, lines = self.minimum, []
        if math.isfinite(self.heat):
            lines.append(
                f"heat capacity (n·beta)² Var L = {self.heat:.4g} ± {self.heat_error:.2g}: llc needs L(w*), this does "
                "not; they agree on a plateau, below it llc is the larger"
            )
        shift = "not defined at a saddle" if math.isnan(m.shift) else f"{m.shift:.2g}"
        lines.append(
            f"|gradient| at w* is {m.gradient_norm:.2g}, the data's sampling noise of it {m.noise_norm:.2g}; the shift "
            f"of llc by it: {shift}" + ("; the loss curves downwards from w*" if m.saddle else "")
        )
        draws = llc_draws(self.trace, self.n * self.beta)[:, self.trace.warmup :]
        if self.batch_size >= self.n and np.isfinite(draws).any():
            lines.append(f"draws with a loss below L(w*): {(draws < 0).mean():.1%}")
        return tuple(lines)

    def __str__(self) -> str:
        scale = f"at n·beta = {self.n * self.beta:.4g}, gamma = {self.gamma:.4g}"
        low, high = self.interval
        line = " | ".join(
            [
                f"llc = {self.llc:.4g} ± {self.std_error:.2g} (95%: {low:.4g} to {high:.4g}) {scale}",
                f"R-hat {self.rhat:.3f}, ESS {self.ess:.0f}, {self.chains} chains × {self.draws} draws, {self.sampler}",
                f"{self.seconds:.1f} s",
                self.status,
            ]
        )
        return "\n".join([line, *(f"  {remark}" for remark in (*self._scale(), *self.reasons, *self.remarks))])

    def _scale(self) -> list[str]:
        found = self.sensitivity
        if found is None or not math.isfinite(found.gamma_slope.std_error):
            return []
        verdict = (
            "flat to first order"
            if found.plateau
            else "no plateau: compare only numbers made at the same beta and gamma"
        )
        slopes = f"d log llc / d log gamma = {found.gamma_slope}, d log llc / d log beta = {found.beta_slope}"
        return [f"scale: {slopes}: {verdict}"]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trace, as plain Python values."""
        found = self.sensitivity
        derived = {
            "interval": list(self.interval),
            "choices": list(self.choices),
            "remarks": list(self.remarks),
            "gradient_norm": self.minimum.gradient_norm,
            "gradient_noise": self.minimum.noise_norm,
            "shift": self.minimum.shift,
            "heat_capacity": self.heat,
            "beta_slope": found.beta_slope.value if found else None,
            "gamma_slope": found.gamma_slope.value if found else None,
            "step_shift": self.step_error.shift if self.step_error else None,
            "step_shift_error": math.hypot(self.step_error.std_error, self.step_error.residual)
            if self.step_error
            else None,
            "stiffness": self.step_error.stiffness if self.step_error else None,
        }
        return {key: derived[key] if key in derived else getattr(self, key) for key in JSON_KEYS}

    def to_json(self) -> str:
        """One JSON object on one line; numbers that are not finite become null."""
        return json.dumps({key: finite(value) for key, value in self.to_dict().items()}, ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Write netCDF: the draws, readable by xarray and ArviZ, with the estimate as an attribute."""
        text = json.dumps(to_record(self, without=("trace",)), ensure_ascii=False)
        with written_whole(path) as partial:
            replace(self.trace, attributes={**self.trace.attributes, _ESTIMATE: text}).save(partial)

    @classmethod
    def load(cls, path: str | Path) -> "Estimate":
        """Read what `save` wrote. Raises InputError where there is no estimate, or one of another version."""
        remedy = f"make one with slt estimate TASK CHECKPOINT --save {path}"
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; {remedy}")
        try:
            trace = Trace.load(path)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: holds no draws of slt estimate --save; {remedy}") from error
        attributes = dict(trace.attributes)
        if _ESTIMATE not in attributes:
            raise InputError(f"{path}: holds draws but no estimate, as older versions saved them; {remedy}")
        try:
            record = json.loads(attributes.pop(_ESTIMATE))
            return from_record(cls, record, trace=replace(trace, attributes=attributes))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: holds an estimate of another version (at {error}); {remedy}") from error


def finite(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
