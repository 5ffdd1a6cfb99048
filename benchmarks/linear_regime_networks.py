"""The networks of `benchmarks.linear_regime`, their Jacobians as data, and their closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import slt
from slt.linearized import gauss_newton_eigenvalues, quadratic_llc

INPUTS, NOISE_VARIANCE, GAMMA = 4, 0.1, 10.0


class Network(nn.Module):
    """f(x) = a·tanh(Wx/√inputs)/√width, weights standard normal: the scaling whose limit is the linear regime."""

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.first = nn.Parameter(torch.randn(width, INPUTS, generator=generator, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(width, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(x @ self.first.T / INPUTS**0.5)
        return hidden @ self.second[:, None] / len(self.second) ** 0.5


class Features(nn.Module):
    """J (w - w*) for rows of J as inputs: the change of the linearized network's output."""

    center: Tensor

    def __init__(self, center: Tensor):
        super().__init__()
        self.weights = nn.Parameter(center.clone())
        self.register_buffer("center", center.clone())

    def forward(self, jacobian: Tensor) -> Tensor:
        return (jacobian @ (self.weights - self.center))[:, None]


@dataclass(frozen=True)
class Problem:
    """One width: the network, its Jacobian at the samples, the residuals, and the curvature."""

    network: Network
    inputs: Tensor
    jacobian: Tensor  # (n, d)
    residual: Tensor  # (n, 1), orthogonal to the columns of the Jacobian
    curvature: Tensor  # h (d,)

    @classmethod
    def of(cls, width: int, samples: int, seed: int) -> Problem:
        generator = torch.Generator().manual_seed(seed)
        network = Network(width, generator)
        inputs = torch.randn(samples, INPUTS, generator=generator, dtype=torch.float64)
        outputs = [network(x[None]).sum() for x in inputs]
        parts = [torch.autograd.grad(output, list(network.parameters())) for output in outputs]
        jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in parts])
        noise = NOISE_VARIANCE**0.5 * torch.randn(samples, generator=generator, dtype=torch.float64)
        inside = jacobian @ torch.linalg.lstsq(jacobian, noise[:, None]).solution
        curvature = gauss_newton_eigenvalues(network, inputs, NOISE_VARIANCE)
        return cls(network, inputs, jacobian, noise[:, None] - inside, curvature)

    @property
    def features(self) -> Features:
        return Features(torch.cat([part.detach().flatten() for part in self.network.parameters()]))

    @property
    def n_beta(self) -> float:
        return len(self.inputs) / math.log(len(self.inputs))

    def estimate(self, **settings: Any) -> slt.Estimate:
        loss = slt.gaussian_loss(NOISE_VARIANCE)
        return slt.estimate_llc(
            self.features, (self.jacobian, self.residual), loss, gamma=GAMMA, progress=False, **settings
        )

    def closed_llc(self, step_size: float = 0.0) -> float:
        return quadratic_llc(self.curvature, self.n_beta, GAMMA, step_size)
