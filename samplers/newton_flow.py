"""The field that carries particles along as the temperature falls: f(A) ∇U with A = tH + γ, f(a) = a/(a² + c²).

In directions that the potential confines (a >> c) it is the Newton direction A⁻¹∇U, in wide ones nothing. With
c = √(γ λ_max), of order t^½, it lies between the two kinds. Moving by -(1 - (t/t')^½) f(A) ∇U shrinks a particle
towards the zeros of K just as the density at t' is narrower than that at t, so that its weight keeps only what is
left: by how much the local count of confined directions differs from particle to particle. (Escorted free energies,
Vaikuntanathan & Jarzynski 2008, with the field read off the potential.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

import torch
from torch import Tensor

from samplers.analytic import LocalPotential, Tempered
from samplers.moves import Curvature, Particles


@dataclass(frozen=True)
class Flow:
    """Particles u (N, d) with the field v (N, d) there, its Jacobian (N, d, d) and v·∇U (N,)."""

    u: Tensor
    field: Tensor
    jacobian: Tensor
    along: Tensor

    def carry(self, log_step: float) -> tuple[Tensor, Tensor]:
        """Points u - s v(u), s = 1 - e^(-½ log_step), and the log of |det| of that map.

        -inf where the map has folded over: such particles carry no weight.
        """
        s = 1 - exp(-0.5 * log_step)
        identity = torch.eye(self.u.shape[1], dtype=self.u.dtype)
        sign, log_det = torch.linalg.slogdet(identity - s * self.jacobian)
        return self.u - s * self.field, torch.where(sign > 0, log_det, -torch.inf)

    @property
    def stein(self) -> Tensor:
        """div v - v·∇U (N,), of expectation zero."""
        return self.jacobian.diagonal(dim1=1, dim2=2).sum(-1) - self.along


def newton_flow(potential: LocalPotential, density: Tempered, particles: Particles, curvature: Curvature) -> Flow:
    """The field with c = √(γ λ_max) and its Jacobian f(A)A + D[f(A)]∇U.

    By Daleckii & Krein (1965) row a of the second term, in the eigenbasis, is Σ_b F_ab g_b ∇(v_aᵀ A v_b), with F the
    divided differences of f and g the slope: one third-order derivative along (v_a, Σ_b F_ab g_b v_b).
    """
    vectors = curvature.eigenvectors
    r, f, divided, g, c = _spectral(density, particles, curvature)
    mixed = vectors @ (divided * (g / c)[:, None, :]).mT
    third = density.t / c * potential.third_derivatives(particles.u, vectors, mixed)
    jacobian = vectors @ (torch.diag_embed(f * r) @ vectors.mT + third)
    field = (vectors @ (f * g / c)[..., None])[..., 0]
    return Flow(particles.u, field, jacobian, (f * g * (g / c)).sum(-1))


def _spectral(
    density: Tempered, particles: Particles, curvature: Curvature
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """r = a/c, c·f(a), the divided differences of r/(r²+1), the slope in the eigenbasis, and c."""
    slope = density.t * particles.gradient + density.gamma * particles.u
    g = (curvature.eigenvectors.mT @ slope[..., None])[..., 0]
    top = float(curvature.eigenvalues.abs().amax(-1).median())
    c = sqrt(max(top, density.gamma)) * sqrt(density.gamma)
    r = curvature.eigenvalues / c
    r = r.clamp(-1e150, 1e150)
    f = r / (r.square() + 1)
    derivative = (1 - r.square()) / (r.square() + 1).square()
    gap = r[:, :, None] - r[:, None, :]
    close = gap.abs() < 1e-8 * (r.abs()[:, :, None] + r.abs()[:, None, :] + 1)
    divided = (f[:, :, None] - f[:, None, :]) / torch.where(close, 1.0, gap)
    divided = torch.where(close, 0.5 * (derivative[:, :, None] + derivative[:, None, :]), divided)
    return r, f, divided, g, c
