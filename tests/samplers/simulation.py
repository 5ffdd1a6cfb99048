"""Chains of a kernel on a target: their moments with errors, and the affine map that a step is on a quadratic."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov
from targets import Target
from torch import Tensor

from samplers.batches import Batches
from samplers.gradient import Evaluation, Plain
from samplers.kernel import Kernel
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run


def start_run(posterior: LocalPosterior, kernel: Kernel, chains: int, seed: int = 0) -> Run:
    noise = ChainNoise(seed, chains)
    return Run(posterior, kernel, posterior.draw_localizer(chains, noise), noise=noise, batches=Batches(1, None, seed))


def moments(
    target: Target, kernel: Kernel, *, chains: int, warmup: int, steps: int, thin: int = 1
) -> dict[str, Tensor]:
    """Per chain: mean loss, its variance about the exact mean, and the second moments about w* (chains, ...).

    Draws of the localizing Gaussian may start far out, where the potential is steep: the first half of the warm-up
    takes steps 50 times smaller.
    """
    run = start_run(target.posterior, replace(kernel, step_size=kernel.step_size / 50), chains)
    for step in range(warmup):
        if step == warmup // 2:
            run.use(kernel)
        run.step()
    loss, spread, second, count = 0.0, 0.0, 0.0, 0
    for step in range(steps):
        info = run.step()
        loss = loss + info.loss
        spread = spread + (info.loss - target.mean_loss).square()
        if step % thin == 0:
            x = target.posterior.displacement(run.position)
            second = second + x[:, :, None] * x[:, None, :]
            count += 1
    return {"loss": loss / steps, "variance": spread / steps, "second": (second / count).flatten(1)}


def z_scores(values: Tensor, exact: float | np.ndarray) -> Tensor:
    """(mean over the chains - exact) / its standard error; chains are independent, so their spread is the error."""
    error = values.std(0) / len(values) ** 0.5
    return (values.mean(0) - torch.as_tensor(exact)) / error


class Scripted:
    """Noise that is what the test says, draw by draw."""

    def __init__(self, draws: Sequence[Tensor]):
        self.draws = list(draws)

    def normal(self, like: Tensor) -> Tensor:
        return self.draws.pop(0).clone()

    def add_normal(self, x: Tensor, scale: float | Tensor) -> Tensor:
        return x + scale * self.normal(x)


class Perturbed:
    """The full gradient plus a given perturbation (C, d) of ∇L: gradient noise, under control."""

    def __init__(self, perturbation: Tensor):
        self.perturbation = perturbation

    def __call__(self, posterior: LocalPosterior, w: Tensor, index: Tensor | None) -> Evaluation:
        evaluation = Plain()(posterior, w, None)
        return evaluation._replace(gradient=evaluation.gradient + self.perturbation)


def affine_step(posterior: LocalPosterior, make_kernel, carried: str | None = None, prepare=lambda state: state):
    """The step of a kernel on a quadratic, x' = A x + B ξ + D δ + b, with ξ the noise and δ that of the gradient.

    x is the position (d), with the tensor `carried` by the state after it (2d). `make_kernel(gradient estimator)`
    makes the kernel, `prepare` sets the rest of its state. One step of one chain per column of the maps.
    """
    d = posterior.dimension
    size = d if carried is None else 2 * d
    rows = size + 2 * d + 1
    x, xi, delta = torch.zeros(rows, size).double(), torch.zeros(rows, d).double(), torch.zeros(rows, d).double()
    x[:size] = torch.eye(size)
    xi[size : size + d] = torch.eye(d)
    delta[size + d : size + 2 * d] = torch.eye(d)
    kernel = make_kernel(Perturbed(delta / posterior.n_beta))
    center = posterior.center_of(rows)
    state = kernel.init(posterior, center)._replace(position=center + x[:, :d])
    if carried == "velocity":
        state = state._replace(velocity=x[:, d:])
    elif carried == "first":
        state = state._replace(moments=state.moments._replace(first=x[:, d:]))
    new, _ = kernel.step(posterior, prepare(state), None, Scripted([xi]))
    out = new.position - center
    if carried == "velocity":
        out = torch.cat([out, new.velocity], dim=1)
    elif carried == "first":
        out = torch.cat([out, new.moments.first], dim=1)
    offset = out[-1]
    columns = (out[:-1] - offset).T.numpy()
    return columns[:, :size], columns[:, size : size + d], columns[:, size + d :], offset.numpy()


def stationary(
    step, noise: np.ndarray | float = 0.0, active: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance that the affine step leaves invariant, with gradient noise of covariance `noise` · 1.

    `active`: an orthonormal basis (size, k) of the subspace in which the chain moves, where it does not fill space.
    """
    a, b, d, offset = step
    basis = np.eye(len(a)) if active is None else active
    a, b, d, offset = basis.T @ a @ basis, basis.T @ b, basis.T @ d, basis.T @ offset
    covariance = solve_discrete_lyapunov(a, b @ b.T + noise * d @ d.T)
    mean = np.linalg.solve(np.eye(len(a)) - a, offset)
    return basis @ mean, basis @ covariance @ basis.T
