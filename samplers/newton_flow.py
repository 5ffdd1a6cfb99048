"""The field that carries particles along as the temperature falls: f(A) ∇U with A = tH + γ, f(a) = a/(a² + c²).

In directions that the potential confines (a >> c) it is the Newton direction A⁻¹∇U, in wide ones nothing. With
c² = γ|A| + (1e-13 |A|)², |A| the Frobenius norm, c lies between the two kinds and above what rounding leaves of the
small eigenvalues beside the large ones. |A| is that of the particle: where norms cross, it is of order t at one
particle and t^½ at another, and a c that all share would be below the rounding at the first. Moving by
-(1 - (t/t')^½) f(A) ∇U shrinks a particle towards the zeros of K just as the density at t' is narrower than that at t,
so that its weight keeps only what is left: by how much the local count of confined directions differs from particle to
particle. (Escorted free energies, Vaikuntanathan & Jarzynski 2008, with the field read off the potential.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from samplers.analytic import LocalPotential, Tempered
from samplers.moves import Particles
from samplers.newton_moves import Curvature

RESOLUTION = 1e-13  # of eigenvalues beside the largest: hundreds of units in float64's last place
TANGENT_FROM = 4  # coordinates: with fewer, what the tangential columns add to the others is not worth their noise


@dataclass(frozen=True)
class Flow:
    """Particles u (N, d) with the field v (N, d) there, its Jacobian (N, d, d) and v·∇U (N,).

    `tangent` (N, d) are Stein's columns of the tangential fields, where there are any.
    """

    u: Tensor
    field: Tensor
    jacobian: Tensor
    along: Tensor
    tangent: Tensor | None = None

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
    """The field and its Jacobian f(A)A + D[f(A)]∇U, where D acts on A and on c.

    By Daleckii & Krein (1965) row a of the part of A, in the eigenbasis, is Σ_b F_ab g_b ∇(v_aᵀ A v_b), with F the
    divided differences of f and g the slope: one third-order derivative along (v_a, Σ_b F_ab g_b v_b). The part of c
    is ∂f/∂(log c) ∇U (∇log c)ᵀ, and ∇|A|² = 2 Σ_a λ_a ∇(v_aᵀ A v_a).
    """
    vectors, eigenvalues = curvature.eigenvectors, curvature.eigenvalues
    slope = density.t * particles.gradient + density.gamma * particles.u
    g = _apply(vectors.mT, slope)
    size, c, elasticity = _cut(eigenvalues, density.gamma)
    r = (eigenvalues / c).clamp(-1e150, 1e150)
    f, divided = _divided_differences(r)
    g_c = g / c  # f below is c times f of the formulas
    mixed = vectors @ (divided * g_c[:, None, :]).mT
    third, widening = (density.t * part for part in potential.third_derivatives(particles.u, vectors, mixed, vectors))
    grad_log_c = elasticity / size * ((eigenvalues / size)[..., None] * widening).sum(1)
    by_c = -2 * r / (r.square() + 1).square() * g_c
    inner = torch.diag_embed(f * r) @ vectors.mT + third / c[..., None]
    jacobian = vectors @ (inner + by_c[..., None] * grad_log_c[:, None, :])
    tangent = None
    if potential.dimension >= TANGENT_FROM:
        tangent = _tangent_columns(particles.u, vectors, r, g, c, widening @ vectors, _apply(vectors.mT, grad_log_c))
    return Flow(particles.u, _apply(vectors, f * g_c), jacobian, (f * g * g_c).sum(-1), tangent)


def _tangent_columns(
    u: Tensor, vectors: Tensor, r: Tensor, g: Tensor, c: Tensor, widening: Tensor, grad_log_c: Tensor
) -> Tensor:
    """Stein's columns of the fields h(A) u_i e_i, h(a) = c²/(a² + c²), for each coordinate i: (N, d).

    r is A/c, and g, c, `widening` (row a: ∇λ_a) and ∇log c are in the eigenbasis. As in `newton_flow`, the divergence
    is that of u_i e_i, and that of h(A) by divided differences and by c.
    """
    h = 1 / (r.square() + 1)
    divided = -(r[:, :, None] + r[:, None, :]) * (h[:, :, None] * h[:, None, :]) / c[..., None]
    by_c = 2 * r.square() * h.square() * grad_log_c
    turning = (divided * widening).sum(1) + by_c - h * g
    return (vectors.square() * h[:, None, :]).sum(-1) + u * _apply(vectors, turning)


def _cut(eigenvalues: Tensor, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """|A|, c and d log c/d log|A| at each particle, (N, 1) all."""
    top = eigenvalues.abs().amax(-1, keepdim=True).clamp(min=gamma)
    size = top * ((eigenvalues / top).square().sum(-1, keepdim=True) + (gamma / top).square()).sqrt()
    unresolved = RESOLUTION * size * (RESOLUTION / gamma)  # (RESOLUTION |A|)² in units of γ|A|
    c = (gamma * size).sqrt() * (1 + unresolved).sqrt()
    return size, c, 0.5 + 0.5 * unresolved / (1 + unresolved)


def _divided_differences(r: Tensor) -> tuple[Tensor, Tensor]:
    """f = r/(r² + 1), (N, d), and its divided differences (N, d, d)."""
    f = r / (r.square() + 1)
    derivative = (1 - r.square()) / (r.square() + 1).square()
    gap = r[:, :, None] - r[:, None, :]
    close = gap.abs() < 1e-8 * (r.abs()[:, :, None] + r.abs()[:, None, :] + 1)
    divided = (f[:, :, None] - f[:, None, :]) / torch.where(close, 1.0, gap)
    return f, torch.where(close, 0.5 * (derivative[:, :, None] + derivative[:, None, :]), divided)


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]
