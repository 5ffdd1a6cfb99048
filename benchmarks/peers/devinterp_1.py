"""devinterp 1.3.2: any model, chains one after the other."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.models import LOSSES
from benchmarks.peers.spec import Found, Problem

PACKAGE = "devinterp"
_sampling_started: list[float] = []  # of the estimate in progress; here because devinterp copies `evaluate`


def evaluate(loss: str, noise_variance: float, model: nn.Module, data: Any) -> torch.Tensor:
    """Mean loss of a minibatch. The first with gradients is the first step of sampling."""
    if torch.is_grad_enabled() and not _sampling_started:
        _sampling_started.append(time.process_time())
    return LOSSES[loss](model(data[0]), data[1], noise_variance).mean()


def estimate(problem: Problem) -> Found:
    from devinterp.optim.sgmcmc import SGMCMC
    from devinterp.optim.sgnht import SGNHT
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary

    spec = problem.spec
    settings = {"lr": spec.step_size, "nbeta": spec.n_beta, **spec.options}
    if spec.sampler == "sgnht":  # SGMCMC.sgnht of 1.3.2 leaves out its friction; this is the class that has it
        method = SGNHT
    else:
        method = {"sgld": SGMCMC.sgld, "rmsprop-sgld": SGMCMC.rmsprop_sgld}[spec.sampler]
        settings["localization"] = spec.gamma
    _sampling_started.clear()
    found = estimate_learning_coeff_with_summary(
        problem.model, problem.loader(), evaluate=partial(evaluate, spec.loss, spec.noise_variance),
        sampling_method=method, optimizer_kwargs=settings, num_draws=spec.draws, num_chains=spec.chains,
        num_burnin_steps=spec.burn_in, num_steps_bw_draws=spec.steps_between_draws, seed=spec.seed, verbose=False,
        init_loss=problem.loss_at_center() if spec.init_loss == "exact" else None,
    )  # fmt: skip
    chains = [found[f"llc-chain/{chain}"] for chain in range(spec.chains)]
    losses = np.asarray(found["loss/trace"], dtype=float)
    init_loss = float(losses[0].mean() - chains[0] / spec.n_beta)
    return Found(losses, chains, init_loss, _sampling_started[0])
