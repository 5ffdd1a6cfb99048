"""FreeEnergyEstimate: a local free energy with its error, its methods, its curve and a verdict in words."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from samplers.errors import InputError
from samplers.ladder_trace import LadderTrace
from slt.files import written_whole
from slt.free_energies.temperature_curve import Curve, Plateau, Regression
from slt.llc.estimate import Status, finite

_ESTIMATE = "free_energy_estimate"  # the attribute of a netCDF file that holds the estimate
_KIND = "local free energy"


@dataclass(frozen=True)
class Terms:
    """nβ L* + λ log nβ - (m - 1) log log nβ + constant = nβ L* + F(β), term by term, in nats.

    m is given, not measured. λ is the plateau's where there is one, else λ̂ at β*; where m > 1 it is λ̂ at the ladder's
    end plus (m - 1)/log nβ, which is what a multiplicity takes off it. `source` says which.
    """

    energy: float
    log_n: float
    log_log_n: float
    constant: float
    llc: float
    multiplicity: int
    source: str

    @property
    def total(self) -> float:
        """The sum of the four terms."""
        return self.energy + self.log_n + self.log_log_n + self.constant


@dataclass(frozen=True)
class FreeEnergyEstimate:
    """F(β) = -log ∫ exp(-nβ (L(w) - L*)) N(w; w*, I/γ) dw, in nats, with what is known of its error.

    `free_energy` and `std_error` are MBAR's; `methods` holds (value, error) of each method. `llc` is λ̂ = nβ (E_β[L] -
    L*) at the ladder's end, `wbic` is E[nL] at β* = 1/log n, None where the ladder does not reach it, and `curve` has
    F and λ̂ at every rung. `step_sizes` (R,) are the kernel's at each rung, `rejections` (R,) the shares of exchanges
    with the rung below that were refused, `data` a digest of the samples. nβ L* + F(β) is the free energy of the
    region itself, in which L* cancels.
    """

    free_energy: float
    std_error: float
    interval: tuple[float, float]
    rhat: float
    ess: float
    status: Status
    reasons: list[str]
    n: int
    beta: float
    gamma: float
    methods: dict[str, tuple[float, float]]
    llc: float
    llc_error: float
    wbic: float | None
    wbic_error: float | None
    wbic_beta: float | None
    wbic_llc: float | None
    plateau: Plateau | None
    regression: Regression | None
    terms: Terms
    curve: Curve = field(repr=False)
    rungs: int
    chains: int
    warmup: int
    draws: int
    rejection: float
    round_trips: int
    sampler: str
    seed: int
    seconds: float
    checkpoint: str | None
    dimension: int
    center_loss: float
    evaluation: str
    dtype: str
    gradients: int
    step_sizes: list[float] = field(repr=False, default_factory=list)
    rejections: list[float] = field(repr=False, default_factory=list)
    data: str = ""
    trace: LadderTrace | None = field(repr=False, default=None)

    @property
    def total(self) -> float:
        """nβ L* + F(β), nats."""
        return self.n * self.beta * self.center_loss + self.free_energy

    def __str__(self) -> str:
        low, high = self.interval
        t = self.terms
        lines = [
            f"free energy F = {self.free_energy:.4g} ± {self.std_error:.2g} nats (95%: {low:.4g} to {high:.4g}) at "
            f"n·beta = {self.n * self.beta:.4g}, gamma = {self.gamma:.4g} | n·beta·L* + F = {self.total:.6g} | "
            f"R-hat {self.rhat:.3f}, ESS {self.ess:.0f}, {self.rungs} rungs × {self.chains} replicas × {self.draws} "
            f"draws, {self.sampler} | {self.seconds:.1f} s | {self.status}",
            *(f"  {reason}" for reason in self.reasons),
            "  " + ", ".join(f"{name} {value:.4g} ± {error:.2g}" for name, (value, error) in self.methods.items()),
            f"  {t.energy:.6g} (n·beta·L*) + {t.log_n:.4g} (λ log n·beta, λ = {t.llc:.4g} from {t.source}) "
            f"{t.log_log_n or -0.0:+.4g} ((m-1) log log n·beta, m = {t.multiplicity}) {t.constant:+.4g} (the rest)",
            f"  llc = {self.llc:.4g} ± {self.llc_error:.2g} at beta = {self.beta:.4g}; {self._flatness()}",
        ]
        if self.wbic is not None:
            lines.append(
                f"  WBIC = {self.wbic:.6g} ± {self.wbic_error:.2g} nats: E[nL] at beta = 1/log n = "
                f"{self.wbic_beta:.4g}, where llc = {self.wbic_llc:.4g}"
            )
        if self.regression is not None:
            r = self.regression
            lines.append(
                f"  llc by regression of E[nL] on 1/beta, beta from {r.low:.3g} to {r.high:.3g}: {r.llc:.4g} ± "
                f"{r.std_error:.2g}, n·L* = {r.center_energy:.6g}"
            )
        least, steps = min(self.rejections, default=self.rejection), ""
        if self.step_sizes:
            steps = f", step sizes {min(self.step_sizes):.2g} to {max(self.step_sizes):.2g}"
        lines.append(
            f"  exchanges refused {least:.0%} to {self.rejection:.0%}, {self.round_trips} draws of the localizer "
            f"climbed to the top{steps}"
        )
        return "\n".join(lines)

    def rung_lines(self) -> list[str]:
        """F and λ̂ at every β of the ladder, with the step size there and the exchanges refused with the rung below."""
        c, lines = self.curve, []
        for k, beta in enumerate(c.beta):
            ran = ""
            if len(self.step_sizes) == len(self.rejections) == len(c.beta):
                ran = f", step size {self.step_sizes[k]:.2g}, exchanges refused {self.rejections[k]:.0%}"
            lines.append(
                f"beta = {beta:.4g}: F = {c.free_energy[k]:.4g} ± {c.free_energy_error[k]:.2g}, llc = {c.llc[k]:.4g} ± "
                f"{c.llc_error[k]:.2g}{ran}"
            )
        return lines

    def _flatness(self) -> str:
        if self.plateau is None:
            return "no plateau: llc is a number at its beta"
        p = self.plateau
        return f"plateau {p.llc:.4g} ± {p.std_error:.2g} for beta from {p.low:.3g} to {p.high:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trace, as plain Python values."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("trace", "curve")}
        values = {name: asdict(v) if hasattr(v, "__dataclass_fields__") else v for name, v in values.items()}
        methods = {name: list(pair) for name, pair in self.methods.items()}
        return {"kind": _KIND, **values, "interval": list(self.interval), "methods": methods} | {
            "curve": self.curve.to_dict()
        }

    def to_json(self) -> str:
        """One JSON object on one line; numbers that are not finite become null."""
        return json.dumps(_plain(self.to_dict()), ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Write JSON, or with the trace netCDF where the name ends in .nc."""
        with written_whole(path) as partial:
            if Path(path).suffix != ".nc":
                partial.write_text(self.to_json() + "\n", encoding="utf-8")
                return
            if self.trace is None:
                raise InputError(f"{path}: this estimate was read without its trace; use a name ending in .json")
            data = self.trace.to_xarray()
            data.attrs[_ESTIMATE] = self.to_json()
            data.to_netcdf(partial, engine="h5netcdf")

    @classmethod
    def load(cls, path: str | Path) -> "FreeEnergyEstimate":
        """Read what `save` wrote, or a file holding `to_json`. Raises InputError where there is no such estimate."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with slt estimate TASK CHECKPOINT --ladder --save {path}")
        trace = None
        try:
            if path.suffix == ".nc":
                trace = LadderTrace.load(path)
                text = trace.attributes.pop(_ESTIMATE)
            else:
                text = path.read_text(encoding="utf-8")
            return cls._from_dict(json.loads(text), trace)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: holds no free energy; make one with slt estimate TASK CHECKPOINT --ladder --save FILE"
            ) from error

    @classmethod
    def _from_dict(cls, values: dict[str, Any], trace: LadderTrace | None) -> "FreeEnergyEstimate":
        if values.pop("kind") != _KIND:
            raise ValueError("another kind of result")
        parts: dict[str, Any] = {"plateau": Plateau, "regression": Regression, "terms": Terms}
        for name, kind in parts.items():
            values[name] = None if values[name] is None else kind(**values[name])
        values["curve"] = Curve(**{k: np.array(v, dtype=np.float64) for k, v in values["curve"].items()})
        if len({array.shape for array in vars(values["curve"]).values()}) != 1 or not values["curve"].beta.size:
            raise ValueError("columns of different lengths")
        values["methods"] = {k: (float(a), _number(b)) for k, (a, b) in values["methods"].items()}
        values["interval"] = tuple(_number(v) for v in values["interval"])
        for name in ("free_energy", "std_error", "rhat", "ess", "llc", "llc_error", "center_loss"):
            values[name] = _number(values[name])
        return cls(**values, trace=trace)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return finite(list(value) if isinstance(value, tuple) else value)
