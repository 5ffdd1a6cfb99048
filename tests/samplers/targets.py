"""Posteriors whose moments are known: by closed form, or by quadrature in up to three dimensions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samplers.engine import Potential
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior

NODES = 64  # per dimension; the trapezoidal rule converges exponentially on what decays at its ends


@dataclass(frozen=True)
class Target:
    """A posterior with its exact E[L], Var L and E[(w - w*)(w - w*)ᵀ]."""

    name: str
    posterior: LocalPosterior
    curvature: Tensor  # of U at w* (d,), the diagonal: for a preconditioner
    mean_loss: float
    variance_loss: float
    moments: np.ndarray  # (d, d)

    def start(self, chains: int, noise: ChainNoise) -> Tensor:
        return self.posterior.draw_localizer(chains, noise)


def gaussian(name: str, hessian: Tensor, n: float, gamma: float) -> Target:
    """L = ½ wᵀ H w: w ~ N(0, (nH + γ)⁻¹)."""
    d = len(hessian)
    posterior = LocalPosterior(
        Potential(lambda w: 0.5 * ((w @ hessian) * w).sum(-1), d), torch.zeros(d).double(), n=n, beta=1.0, gamma=gamma
    )
    precision = n * hessian + gamma * torch.eye(d).double()
    covariance = torch.linalg.inv(precision)
    product = hessian @ covariance
    mean, variance = 0.5 * product.trace(), 0.5 * (product @ product).trace()
    return Target(name, posterior, precision.diagonal(), float(mean), float(variance), covariance.numpy())


def integrated(
    name: str, loss: Callable[[Tensor], Tensor], center: Tensor, n: float, gamma: float, scale: Tensor, middle: Tensor
) -> Target:
    """Moments by the trapezoidal rule on the box middle + scale (-1, 1)ᵈ, scale a matrix (d, d)."""
    d = len(center)
    posterior = LocalPosterior(Potential(loss, d), center, n=n, beta=1.0, gamma=gamma)
    nodes = NODES if d == 3 else 400
    axis = torch.linspace(-1, 1, nodes).double()
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d) @ scale.T + middle
    values = loss(grid)
    energy = posterior.potential(values, grid)
    weight = torch.exp(-(energy - energy.min()))
    weight /= weight.sum()
    mean = (weight * values).sum()
    x = grid - center
    curvature = torch.func.hessian(lambda w: n * loss(w[None])[0] + 0.5 * gamma * (w - center).square().sum())(center)
    return Target(
        name,
        posterior,
        curvature.diagonal(),
        float(mean),
        float((weight * (values - mean).square()).sum()),
        ((weight[:, None] * x).T @ x).numpy(),
    )


def ill_conditioned() -> Target:
    """Curvatures of U from 1 to 1e4."""
    return gaussian("ill-conditioned", torch.diag(torch.tensor([0.0, 1e-3, 1e-2, 0.1, 0.9999]).double()), 1e4, 1.0)


def correlated() -> Target:
    """Neighbouring coordinates correlate by some 0.9."""
    index = torch.arange(4).double()
    return gaussian("correlated", torch.linalg.inv(0.9 ** (index[:, None] - index).abs()), 4.0, 0.5)


def quartic() -> Target:
    """L = ¼ Σ w⁴, at a place where the quartic rules."""
    box = 4.0 * torch.eye(2).double()
    return integrated("quartic", lambda w: 0.25 * w.pow(4).sum(-1), torch.zeros(2).double(), 5.0, 0.5, box, box[0] * 0)


def crossing() -> Target:
    """L = ½ (xy)², singular along both axes."""
    box = 7.0 * torch.eye(2).double()
    return integrated(
        "crossing", lambda w: 0.5 * w.prod(-1).square(), torch.zeros(2).double(), 20.0, 1.0, box, box[0] * 0
    )


def logistic() -> Target:
    """Logistic regression on real data: two features and a bias on 120 breast cancer samples, centred off its mode."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = torch.tensor(x[:120, [1, 4]])
    x = torch.cat([(x - x.mean(0)) / x.std(0), torch.ones(len(x), 1).double()], dim=1)
    sign = torch.tensor(2.0 * y[:120] - 1)
    center, n, gamma = torch.tensor([-1.0, -0.5, 0.0]).double(), 120 / np.log(120), 1.0

    def loss(w: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-(w @ x.T) * sign).mean(-1)

    mode = center.clone()
    for _ in range(20):  # Newton
        total = lambda w: n * loss(w[None])[0] + 0.5 * gamma * (w - center).square().sum()  # noqa: E731
        hessian = torch.func.hessian(total)(mode)
        mode = mode - torch.linalg.solve(hessian, torch.func.grad(total)(mode))
    scale = 9 * torch.linalg.inv(torch.linalg.cholesky(hessian)).T
    return integrated("logistic", loss, center, n, gamma, scale, mode)
