"""Which directions a potential confines at a particle: spectral functions of A = tH + γ with a cut, and their columns.

f(a) = a/(a² + c²) is nearly 1/a in directions much more confined than c and nearly zero in the others; h(a) =
c²/(a² + c²) is one minus that times a. c lies between γ and the size |A| of A, at γ (|A|/γ)^q, and above what rounding
leaves of small eigenvalues.
"""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.moves import Particles
from samplers.newton_moves import Curvature, apply

RESOLUTION = 1e-13  # of eigenvalues beside the largest: hundreds of units in float64's last place
# q of the columns. What K confines by a power of its own, as w⁴ does, has eigenvalues of order t^½ or less: at q = ½
# it would be neither confined nor free.
TANGENT_POWER = 0.75


def cut(eigenvalues: Tensor, gamma: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """|A|, c and d log c/d log|A| at each particle, (N, 1) all; |A| is the Frobenius norm."""
    top = eigenvalues.abs().amax(-1, keepdim=True).clamp(min=gamma)
    size = top * ((eigenvalues / top).square().sum(-1, keepdim=True) + (gamma / top).square()).sqrt()
    c = gamma * (size / gamma) ** power
    unresolved = (RESOLUTION * size / c).square()
    return size, c * (1 + unresolved).sqrt(), (power + unresolved) / (1 + unresolved)


def divided_differences(r: Tensor) -> tuple[Tensor, Tensor]:
    """r/(r² + 1), (N, d), and its divided differences (N, d, d)."""
    f = r / (r.square() + 1)
    derivative = (1 - r.square()) / (r.square() + 1).square()
    gap = r[:, :, None] - r[:, None, :]
    close = gap.abs() < 1e-8 * (r.abs()[:, :, None] + r.abs()[:, None, :] + 1)
    divided = (f[:, :, None] - f[:, None, :]) / torch.where(close, 1.0, gap)
    return f, torch.where(close, 0.5 * (derivative[:, :, None] + derivative[:, None, :]), divided)


def tangent_columns(
    particles: Particles, slope: Tensor, gamma: float, curvature: Curvature, widening: Tensor
) -> Tensor:
    """Stein's columns of the fields h(A) u_i e_i for each coordinate i, and last that of f(A) ∇U: (N, d + 1).

    `slope` is ∇U, and row a of `widening` (N, d, d) is ∇(v_aᵀ A v_a), all that derivatives of spectral functions need
    here: by Daleckii & Krein (1965) the divergence of F(A) w, w held, is Σ_ab F_ab (v_b·w) ∇(v_aᵀ A v_a)·v_b, with F
    the divided differences, and ∇|A|² = 2 Σ_a λ_a ∇(v_aᵀ A v_a) for what c does.
    """
    eigenvalues, vectors, _ = curvature
    size, c, elasticity = cut(eigenvalues, gamma, TANGENT_POWER)
    r = (eigenvalues / c).clamp(-1e150, 1e150)
    widening = widening @ vectors
    grad_log_c = elasticity / size * ((eigenvalues / size)[..., None] * widening).sum(1)
    g = apply(vectors.mT, slope)
    h = 1 / (r.square() + 1)
    by_pairs = -(r[:, :, None] + r[:, None, :]) * (h[:, :, None] * h[:, None, :]) / c[..., None]
    turning = (by_pairs * widening).sum(1) + 2 * r.square() * h.square() * grad_log_c - h * g
    tangential = (vectors.square() * h[:, None, :]).sum(-1) + particles.u * apply(vectors, turning)
    f, divided = divided_differences(r)
    turning = (divided / c[..., None] * widening).sum(1) - 2 * r * h.square() * grad_log_c - f * g
    newton = (f * r).sum(-1) + (turning * (g / c)).sum(-1)
    return torch.cat([tangential, newton[:, None]], 1)
