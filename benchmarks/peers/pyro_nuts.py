"""Plain Pyro NUTS on all the data, chains one after the other, started at w*; its own warm-up of `burn_in` steps."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch.func import functional_call

from benchmarks.peers.spec import Found, Problem

PACKAGE = "pyro-ppl"


def estimate(problem: Problem) -> Found:
    import pyro
    from pyro.infer import MCMC, NUTS

    spec = problem.spec
    center = {name: value.detach().clone() for name, value in problem.model.named_parameters()}
    seen: list[float] = []

    def loss(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        output = functional_call(problem.model, weights, (problem.inputs,))
        return problem.losses(output, problem.targets).mean()

    def potential(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        distance = sum((weights[name] - value).square().sum() for name, value in center.items())
        return spec.n_beta * loss(weights) + 0.5 * spec.gamma * distance

    started = time.process_time()
    losses = np.empty((spec.chains, spec.draws))
    for chain in range(spec.chains):
        pyro.set_rng_seed(spec.seed + chain)
        mcmc = MCMC(
            NUTS(potential_fn=potential, **spec.options), num_samples=spec.draws, warmup_steps=spec.burn_in,
            initial_params={name: value.clone() for name, value in center.items()}, disable_progbar=True,
        )  # fmt: skip
        mcmc.run()
        drawn = mcmc.get_samples()
        with torch.no_grad():
            seen = [float(loss({name: values[k] for name, values in drawn.items()})) for k in range(spec.draws)]
        losses[chain] = seen
    init_loss = problem.loss_at_center()
    return Found(losses, list(spec.n_beta * (losses.mean(1) - init_loss)), init_loss, started)
