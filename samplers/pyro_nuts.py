"""NUTS through Pyro: the reference sampler for small models. The one file that imports pyro."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplers.errors import InputError
from samplers.posterior import LocalPosterior
from samplers.trace import Trace

_NUTS = 4  # first entry of the spawn key; samplers.noise has 0 to 2, samplers.batches 3


def _chain_seed(seed: int, chain: int) -> int:
    state = np.random.SeedSequence(seed, spawn_key=(_NUTS, chain)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _of_chain(posterior: LocalPosterior, chain: int) -> LocalPosterior:
    """The posterior of one chain alone."""
    beta, gamma = (t[chain] if t.ndim else t for t in (posterior.beta, posterior.gamma))
    center = posterior.center_of(chain + 1)[chain]
    return LocalPosterior(posterior.loss, center, n=posterior.n, beta=beta, gamma=gamma)


class _Energy(torch.autograd.Function):
    """U and its gradient in one evaluation, as a function that autograd knows."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, posterior: LocalPosterior) -> Tensor:
        rows = w.detach()[None]
        with torch.enable_grad():  # autograd switches it off in here
            loss, gradient = posterior.loss.value_and_grad(rows)
        ctx.save_for_backward(posterior.gradient(gradient, rows)[0])
        return posterior.potential(loss, rows)[0].to(w.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return outputs[0] * gradient, None


def nuts(
    posterior: LocalPosterior,
    position: Tensor,
    draws: int,
    *,
    warmup: int = 500,
    seed: int = 0,
    target_acceptance: float = 0.8,
    max_tree_depth: int = 10,
) -> Trace:
    """`draws` draws of each chain by the No-U-Turn sampler (Hoffman & Gelman 2014), started at `position` (C, d).

    Full data, one chain after the other; step size and diagonal metric are Pyro's own, adapted over `warmup` draws
    that are not returned. Each chain's randomness depends on the seed and its index; the global random state is put
    back as it was. `acceptance` is the share of the chain's draws that moved.

    Raises InputError when Pyro is not installed.
    """
    positions, moved, divergences = nuts_draws(
        posterior,
        position,
        draws,
        warmup=warmup,
        seed=seed,
        target_acceptance=target_acceptance,
        max_tree_depth=max_tree_depth,
    )
    chains = len(position)
    losses = torch.stack([posterior.loss.value(positions[:, draw]) for draw in range(draws)], dim=1)
    center = posterior.per_chain_center(posterior.loss.value(posterior.centers), chains)
    distance = (positions - posterior.center_of(chains)[:, None]).square().sum(-1, dtype=torch.float64)
    return Trace(
        loss=losses.cpu().numpy(),
        center_loss=center[:, None].expand(-1, draws).cpu().numpy().copy(),
        distance=distance.cpu().numpy(),
        acceptance=np.repeat(np.array(moved)[:, None], draws, axis=1),
        attributes={"divergences": sum(divergences)},
    )


def nuts_draws(
    posterior: LocalPosterior,
    position: Tensor,
    draws: int,
    *,
    warmup: int = 500,
    seed: int = 0,
    target_acceptance: float = 0.8,
    max_tree_depth: int = 10,
) -> tuple[Tensor, list[float], list[int]]:
    """Positions (C, draws, d), and for each chain the share of draws that moved and the number of divergences."""
    try:
        from pyro.infer import MCMC, NUTS
    except ImportError as error:
        raise InputError("NUTS needs Pyro: pip install 'slt-toolkit[nuts]'") from error
    rows, moved, divergences = [], [], []
    devices = [position.device] if position.device.type == "cuda" else []
    for chain in range(len(position)):
        one = _of_chain(posterior, chain)
        kernel = NUTS(
            potential_fn=lambda z, one=one: _Energy.apply(z["w"], one),
            target_accept_prob=target_acceptance,
            max_tree_depth=max_tree_depth,
        )
        start = {"w": position[chain].detach().clone()}
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(_chain_seed(seed, chain))
            run = MCMC(kernel, draws, warmup_steps=warmup, initial_params=start, disable_progbar=True)
            run.run()
        rows.append(run.get_samples()["w"])
        told = run.diagnostics()
        moved.append(float(told["acceptance rate"]["chain 0"]))
        divergences.append(len(told["divergences"]["chain 0"]))
    return torch.stack(rows), moved, divergences
