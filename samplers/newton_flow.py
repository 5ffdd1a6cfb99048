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
from samplers.confinement import cut, divided_differences, tangent_columns
from samplers.moves import Particles
from samplers.newton_moves import Curvature, apply

POWER = 0.5  # c between γ and |A| where no kind of zero set has been told from another
TANGENT_FROM = 4  # coordinates: of nine potentials with two or three, one gained by tangential columns


@dataclass(frozen=True)
class Flow:
    """Particles u (N, d) with the field v (N, d) there, its Jacobian (N, d, d) and v·∇U (N,).

    `tangent` (N, d + 1) are the columns of `tangent_columns`, where there are any.
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
    g = apply(vectors.mT, slope)
    size, c, elasticity = cut(eigenvalues, density.gamma, POWER)
    r = (eigenvalues / c).clamp(-1e150, 1e150)
    f, divided = divided_differences(r)
    g_c = g / c  # f below is c times f of the formulas
    mixed = vectors @ (divided * g_c[:, None, :]).mT
    third, widening = (density.t * part for part in potential.third_derivatives(particles.u, vectors, mixed, vectors))
    grad_log_c = elasticity / size * ((eigenvalues / size)[..., None] * widening).sum(1)
    by_c = -2 * r / (r.square() + 1).square() * g_c
    inner = torch.diag_embed(f * r) @ vectors.mT + third / c[..., None]
    jacobian = vectors @ (inner + by_c[..., None] * grad_log_c[:, None, :])
    tangent = None
    if potential.dimension >= TANGENT_FROM:
        tangent = tangent_columns(particles, slope, density.gamma, curvature, widening)
    return Flow(particles.u, apply(vectors, f * g_c), jacobian, (f * g * g_c).sum(-1), tangent)
