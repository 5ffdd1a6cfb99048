"""WAIC, functional variance and singular fluctuation, from the losses of every sample at posterior draws."""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from samplers.arguments import positive
from samplers.batches import Batches
from samplers.engine import ModuleLoss, PerSampleLoss
from samplers.errors import InputError
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.warmup import warm_up_hmc
from slt.diagnostics import detect_warmup, summarize_mean
from slt.free_energies.full_data import full_data_options, module_loss
from slt.llc.estimate import Status, finite
from slt.llc.verdict import HOPELESS_RHAT, MAX_RHAT, MIN_ESS
from slt.progress import show_progress
from slt.settings import Settings, default_gamma

BLOCK = 50  # draws between two looks at them
MAX_VALUES = 40_000_000  # losses kept at once: chains × draws × samples


@dataclass(frozen=True)
class Information:
    """What the losses of every sample at posterior draws say; per sample and in nats, but for V and ν.

    `training_loss` T_n = -(1/n) Σ_i log E_w[p(x_i|w)] and `gibbs_training_loss` E_w[L_n(w)]; `functional_variance`
    V = Σ_i Var_w[log p(x_i|w)], `singular_fluctuation` ν = β V/2, `waic` = T_n + β V/n. Each `_error` is a Monte Carlo
    standard error. The expectation of WAIC over data sets is that of the generalization loss up to o(1/n), for
    regular and singular models alike (Watanabe 2010): with L0 the loss of the truth's best approximation,

        E[G_n] = L0 + ((λ - ν)/β + ν)/n,      E[T_n] = L0 + ((λ - ν)/β - ν)/n.
    """

    waic: float
    waic_error: float
    training_loss: float
    training_loss_error: float
    gibbs_training_loss: float
    gibbs_training_loss_error: float
    functional_variance: float
    functional_variance_error: float
    singular_fluctuation: float
    singular_fluctuation_error: float
    rhat: float
    ess: float
    n: int
    beta: float

    def __str__(self) -> str:
        return "\n".join(
            [
                f"WAIC = {self.waic:.6g} ± {self.waic_error:.2g} nats per sample at n = {self.n}, beta = "
                f"{self.beta:.4g} | R-hat {self.rhat:.3f}, ESS {self.ess:.0f}",
                f"  training loss {self.training_loss:.6g} ± {self.training_loss_error:.2g} (Gibbs: "
                f"{self.gibbs_training_loss:.6g} ± {self.gibbs_training_loss_error:.2g})",
                f"  functional variance {self.functional_variance:.4g} ± {self.functional_variance_error:.2g}, "
                f"singular fluctuation {self.singular_fluctuation:.4g} ± {self.singular_fluctuation_error:.2g}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)

    def to_json(self) -> str:
        """One JSON object on one line; numbers that are not finite become null."""
        return json.dumps({key: finite(value) for key, value in self.to_dict().items()}, ensure_ascii=False)


@dataclass(frozen=True)
class WAIC(Information):
    """`Information` of a model's local posterior N(w*, I/γ)-prior, with the run's verdict.

    `generalization_loss` -(1/N) Σ_j log E_w[p(x_j|w)] and `gibbs_generalization_loss` are those on test data, None
    without any.
    """

    generalization_loss: float | None
    gibbs_generalization_loss: float | None
    gamma: float
    chains: int
    draws: int
    warmup: int
    status: Status
    reasons: list[str]
    seconds: float

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.generalization_loss is not None:
            lines.append(
                f"  generalization loss on the test data {self.generalization_loss:.6g} (Gibbs: "
                f"{self.gibbs_generalization_loss:.6g})"
            )
        lines.append(
            f"  prior N(w*, I/gamma) with gamma = {self.gamma:.4g}, {self.chains} chains × {self.draws} draws, hmc, "
            f"{self.seconds:.1f} s | {self.status}"
        )
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])


def information(losses: ArrayLike, beta: float = 1.0) -> Information:
    """WAIC and its parts from losses (chain, draw, n) in nats, draws of the posterior at inverse temperature β.

    >>> import numpy as np
    >>> information(np.full((2, 4, 3), 0.5)).waic
    0.5

    Raises InputError for another shape, fewer than 4 draws, losses that are not finite, and β <= 0.
    """
    try:
        values = np.asarray(losses, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # the last from a tensor that carries a graph
        raise InputError("losses must be an array of numbers (chain, draw, sample); detach a tensor first") from None
    beta = positive(beta, "beta")
    if values.ndim != 3 or values.shape[0] < 1 or values.shape[1] < 4 or values.shape[2] < 1:
        raise InputError(f"losses must be (chain, draw, sample) with at least 4 draws, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("losses must be finite: leave out the chains that are lost")
    n = values.shape[2]
    predictive, series = _predictive(values)
    centred = values - values.mean((0, 1))
    square = (centred**2).sum(2)
    training = summarize_mean(predictive + series)
    gibbs = summarize_mean(values.mean(2))
    variance = summarize_mean(square)
    waic = summarize_mean(predictive + series + beta * square / n)
    return Information(
        waic=waic.mean,
        waic_error=waic.std_error,
        training_loss=training.mean,
        training_loss_error=training.std_error,
        gibbs_training_loss=gibbs.mean,
        gibbs_training_loss_error=gibbs.std_error,
        functional_variance=variance.mean,
        functional_variance_error=variance.std_error,
        singular_fluctuation=beta * variance.mean / 2,
        singular_fluctuation_error=beta * variance.std_error / 2,
        rhat=max(gibbs.rhat, variance.rhat),
        ess=min(gibbs.ess, variance.ess),
        n=n,
        beta=beta,
    )


def _predictive(values: np.ndarray) -> tuple[float, np.ndarray]:
    """-(1/n) Σ_i log mean_s exp(-loss_si), and each draw's part (chain, draw) in its error, to first order."""
    smallest = values.min((0, 1))
    likelihood = np.exp(smallest - values)
    mean = likelihood.mean((0, 1))
    return float((smallest - np.log(mean)).mean()), 1 - (likelihood / mean).mean(2)


def waic(
    model: nn.Module,
    data: Any,
    loss: PerSampleLoss | None = None,
    *,
    test: Any = None,
    progress: bool | None = None,
    **settings: Any,
) -> WAIC:
    """WAIC, V and ν of a model's posterior at β (1 unless set), its prior the localizing Gaussian N(w*, I/γ).

    `data`, `loss` and `settings` are those of `slt.estimate_llc`; full-data HMC (or MALA) draws until the relative
    error of V is below `target_error`. `test` is more data, for the generalization loss. The loss must be the whole
    negative log-likelihood, constants included, where values of WAIC are compared between models.

    Raises InputError for input that cannot be used.
    """
    options = full_data_options(settings)
    started = time.monotonic()
    function = module_loss(model, data, loss, options)
    held_out = None if test is None else module_loss(model, test, loss, replace(options, batch_size=None))
    with show_progress(progress) as report:
        report.stage("warm-up")
        beta = 1.0 if options.beta is None else options.beta
        gamma = default_gamma(function.center) if options.gamma is None else options.gamma
        posterior = LocalPosterior(function, function.center, n=function.data.n, beta=beta, gamma=gamma)
        losses, unseen, stopped = _draw(posterior, function, held_out, options, started)
    if unseen is not None and not np.isfinite(unseen).all():
        raise InputError("the losses of the test data are not finite at the draws: check the test data")
    if not np.isfinite(losses).all():
        raise InputError("the losses of the data are not finite at all draws: check the data, or use a larger gamma")
    warmup = detect_warmup(losses.mean(2)) if options.warmup is None else min(options.warmup, losses.shape[1] - 4)
    kept = losses[:, warmup:]
    result = information(kept, beta)
    status, reasons = _judge(result, options.target_error, stopped)
    generalization = None if unseen is None else _predictive(unseen[:, warmup:])[0]
    return WAIC(
        **vars(result),
        generalization_loss=generalization,
        gibbs_generalization_loss=None if unseen is None else float(unseen[:, warmup:].mean()),
        gamma=gamma,
        chains=options.chains,
        draws=kept.shape[1],
        warmup=warmup,
        status=status,
        reasons=reasons,
        seconds=time.monotonic() - started,
    )


def _draw(
    posterior: LocalPosterior, function: ModuleLoss, held_out: ModuleLoss | None, options: Settings, started: float
) -> tuple[np.ndarray, np.ndarray | None, str | None]:
    """Losses (chain, draw, n) on the data and on the test data; which budget ended the run, if one did."""
    n = function.data.n
    room = MAX_VALUES // (options.chains * max(n, 0 if held_out is None else held_out.data.n))
    if room < BLOCK:
        raise InputError(f"losses of {n} samples at {BLOCK} draws of {options.chains} chains are too many to keep")
    noise = ChainNoise(options.seed, options.chains, posterior.centers.device)
    ready = warm_up_hmc(
        posterior,
        posterior.draw_localizer(options.chains, noise),
        noise,
        Batches(n, None, options.seed),
        name="hmc" if options.sampler == "auto" else str(options.sampler),
        step_size=options.step_size,
        preconditioner="identity",
    )
    per_draw = ready.gradients_per_step * (options.thin or 1)
    budget = min(room, max(4, (options.max_steps - ready.gradients) // per_draw))
    wanted = None if options.draws is None else min(room, options.draws + (options.warmup or 0))
    seen: list[np.ndarray] = []
    unseen: list[np.ndarray] = []
    while True:
        for _ in range(min(max(BLOCK, len(seen) // 4), (wanted or budget) - len(seen))):
            for _ in range(options.thin or 1):
                ready.run.step()
            seen.append(function.per_sample(ready.run.position).double().cpu().numpy())
            if held_out is not None:
                unseen.append(held_out.per_sample(ready.run.position).double().cpu().numpy())
        losses = np.stack(seen, axis=1)
        stacked = np.stack(unseen, axis=1) if unseen else None
        if len(seen) >= (wanted or budget):
            return losses, stacked, None if wanted else "the budget is spent"
        if options.max_seconds is not None and time.monotonic() - started > options.max_seconds:
            return losses, stacked, f"max_seconds = {options.max_seconds:g} reached"
        if wanted is None and np.isfinite(losses).all():
            found = information(losses[:, len(seen) // 10 :], float(posterior.beta))
            precise = found.functional_variance_error <= options.target_error * found.functional_variance
            if precise and found.rhat <= MAX_RHAT and found.ess >= MIN_ESS:
                return losses, stacked, None


def _judge(result: Information, target: float, stopped: str | None) -> tuple[Status, list[str]]:
    failed: list[str] = []
    warnings: list[str] = []
    if not math.isfinite(result.functional_variance_error):
        failed.append("too few draws for an error: ask for more draws")
    elif result.rhat > MAX_RHAT:
        reason = f"the chains disagree: R-hat {result.rhat:.3f} > {MAX_RHAT}: ask for more draws"
        (failed if result.rhat > HOPELESS_RHAT else warnings).append(reason)
    if result.ess < MIN_ESS:
        warnings.append(f"too few effective draws: ESS {result.ess:.0f} < {MIN_ESS:.0f}: ask for more draws")
    if result.functional_variance_error > target * result.functional_variance:
        cause = f" ({stopped})" if stopped else ""
        warnings.append(f"the relative error of the functional variance is above the target of {target:.1%}{cause}")
    return ("failed" if failed else "warning" if warnings else "ok"), failed + warnings
