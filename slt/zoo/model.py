"""What the zoo holds: a potential with its exact answer, and a network with data that has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from samplers.errors import InputError
from slt.exact.rlct import RLCT

Oracle = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
"""(t of shape (T,), γ) -> (log Z(t), E[tK]), Z(t) = ∫ exp(-tK) N(w; center, I/γ) dw, each of shape (T,)."""


@dataclass(frozen=True)
class RegressionModel:
    """A network whose true regression function and learning coefficient are known.

    `build()` returns the network with uninitialized weights, in float64; `draw_inputs(n, generator)` returns
    (n, k) float64 inputs. The truth is the network at `center`, a flat (d,) vector in the order of
    `parameters()`.
    """

    name: str
    group: str
    center: Tensor
    rlct: RLCT
    build: Callable[[], nn.Module] = field(repr=False)
    draw_inputs: Callable[[int, torch.Generator], Tensor] = field(repr=False)

    def module(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Return a fresh network with its weights at `center`, in eval mode."""
        network = self.build()
        vector_to_parameters(self.center.to(torch.float64).clone(), network.parameters())
        return network.to(dtype).eval()

    def data(self, n: int, seed: int, noise: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return inputs X (n, k) and targets Y = f*(X) + noise ε, ε standard Gaussian, from one seed."""
        if n < 1:
            raise InputError(f"n must be at least 1 sample, got {n}")
        if not noise > 0:
            raise InputError(f"noise is a standard deviation and must be positive, got {noise}")
        generator = torch.Generator().manual_seed(seed)
        inputs = self.draw_inputs(n, generator)
        with torch.no_grad():
            truth = self.module(torch.float64)(inputs)
        targets = truth + noise * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
        return inputs.to(dtype), targets.to(dtype)

    def loss(self, noise: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        """Return (output, target) -> (n,) losses ½|y - f|²/σ² in nats: the Gaussian NLL, no constant."""
        if not noise > 0:
            raise InputError(f"noise is a standard deviation and must be positive, got {noise}")

        def gaussian_nll(output: Tensor, target: Tensor) -> Tensor:
            return 0.5 * (output - target).square().flatten(1).sum(1) / noise**2

        return gaussian_nll


@dataclass(frozen=True)
class AnalyticModel:
    """A potential K(w) with its exact (λ, m) at `center`.

    `potential` maps float64 points (..., d) to K (...,), works under autograd and `torch.func.vmap`, and is
    >= 0 with K(center) = 0, except where `note` says that the centre is a local minimum only. Where
    `regression` is given, K is the population Kullback-Leibler divergence of that network at unit noise.
    """

    name: str
    group: str
    dimension: int
    potential: Callable[[Tensor], Tensor] = field(repr=False)
    center: Tensor = field(repr=False)
    rlct: RLCT
    oracle: Oracle | None = field(default=None, repr=False)
    regression: RegressionModel | None = field(default=None, repr=False)
    note: str = ""

    def __post_init__(self) -> None:
        if self.center.shape != (self.dimension,):
            raise InputError(f"{self.name}: center has shape {tuple(self.center.shape)}, not ({self.dimension},)")

    @property
    def has_oracle(self) -> bool:
        """Whether `mean_potential` and `free_energy` are available."""
        return self.oracle is not None

    @overload
    def mean_potential(self, t: float, gamma: float = 1.0) -> float: ...
    @overload
    def mean_potential(self, t: np.ndarray, gamma: float = 1.0) -> np.ndarray: ...
    def mean_potential(self, t: float | np.ndarray, gamma: float = 1.0) -> float | np.ndarray:
        """Return E[tK] in nats under the density ∝ exp(-tK - γ/2 |w - center|²), for t > 0 a number or an array.

        At t = nβ this is what the estimator nβ (E[L] - L*) converges to at finite n; it tends to λ as t → ∞.
        Raises InputError where the model has no oracle (`has_oracle`).
        """
        times, evaluate = self._checked(t, gamma)
        values = evaluate(times.reshape(-1), gamma)[1].reshape(times.shape)
        return float(values) if values.ndim == 0 else values

    @overload
    def free_energy(self, t: float, gamma: float = 1.0) -> float: ...
    @overload
    def free_energy(self, t: np.ndarray, gamma: float = 1.0) -> np.ndarray: ...
    def free_energy(self, t: float | np.ndarray, gamma: float = 1.0) -> float | np.ndarray:
        """Return F(t) = -log ∫ exp(-tK) N(w; center, I/γ) dw in nats, t > 0 a number or an array.

        F ~ λ log t - (m-1) log log t as t → ∞, and t dF/dt = E[tK]. Raises InputError where there is no
        oracle.
        """
        times, evaluate = self._checked(t, gamma)
        values = -evaluate(times.reshape(-1), gamma)[0].reshape(times.shape)
        return float(values) if values.ndim == 0 else values

    def _checked(self, t: float | np.ndarray, gamma: float) -> tuple[np.ndarray, Oracle]:
        if self.oracle is None:
            raise InputError(f"{self.name} has no finite-t oracle: see has_oracle")
        times = np.asarray(t, dtype=np.float64)
        if times.size == 0 or not np.all(np.isfinite(times) & (times > 0)):
            raise InputError(f"{self.name}: t must be positive and finite, got {t}")
        if not (np.isfinite(gamma) and gamma > 0):
            raise InputError(f"{self.name}: gamma must be positive and finite, got {gamma}")
        return times, self.oracle


def flat(module: nn.Module) -> Tensor:
    """Return a module's parameters as one detached float64 vector, in the order of `parameters()`."""
    return parameters_to_vector(module.parameters()).detach().to(torch.float64)
