"""What is sampled: the tempered posterior localized at trained weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from samplers.engine import LossFunction
from samplers.errors import InputError
from samplers.noise import ChainNoise

PerChain = float | Sequence[float] | Tensor


class LocalPosterior:
    """p(w) ∝ exp(-nβ L(w) - γ/2 |w - w*|²), for a batch of chains.

    `center` is w*, shape (d,); or (S, d) with `owner` (C,) naming the centre of each chain, so that chains around
    several checkpoints are rows of one batch. `beta` and `gamma` are numbers, or one number per chain (C,). L is the
    mean loss per sample in nats and `n` the number of samples: nβ is derived from them, never set (Lau et al. 2023).

    Raises InputError for n <= 0, β < 0, γ <= 0 or shapes that do not fit.
    """

    def __init__(
        self,
        loss: LossFunction,
        center: Tensor,
        *,
        n: float,
        beta: PerChain,
        gamma: PerChain,
        owner: Sequence[int] | Tensor | None = None,
    ):
        self.loss = loss
        self.centers = torch.atleast_2d(center).detach()
        if self.centers.shape[-1] != loss.dimension:
            raise InputError(f"the centre must have {loss.dimension} entries, got {self.centers.shape[-1]}")
        if owner is None and len(self.centers) > 1:
            raise InputError("several centres need `owner`, the index of the centre of each chain")
        device = self.centers.device
        self.owner = None if owner is None else torch.as_tensor(owner, device=device)
        self.n = float(n)
        self.beta = torch.as_tensor(beta, dtype=torch.float64, device=device)
        self.gamma = torch.as_tensor(gamma, dtype=torch.float64, device=device)
        self._displaced: tuple[Tensor, int, Tensor] | None = None  # w, its version, w - w*
        self._made: dict[torch.dtype, tuple[float | Tensor, float | Tensor]] = {}
        if not self.n > 0:
            raise InputError(f"n, the number of samples, must be positive, got {n}")
        if not bool((self.beta >= 0).all()):
            raise InputError(f"the inverse temperature beta must be at least 0, got {beta}")
        if not bool((self.gamma > 0).all()):
            raise InputError(f"the localization gamma must be positive, got {gamma}")

    @property
    def dimension(self) -> int:
        """d, the number of weights."""
        return self.loss.dimension

    @property
    def n_beta(self) -> Tensor:
        """nβ, float64, () or (C,)."""
        return self.n * self.beta

    def tempered(self, beta: PerChain) -> "LocalPosterior":
        """The same posterior at another inverse temperature."""
        return LocalPosterior(self.loss, self.centers, n=self.n, beta=beta, gamma=self.gamma, owner=self.owner)

    def on(self, loss: LossFunction) -> "LocalPosterior":
        """The same posterior with another loss in the place of L."""
        return LocalPosterior(loss, self.centers, n=self.n, beta=self.beta, gamma=self.gamma, owner=self.owner)

    def center_of(self, chains: int) -> Tensor:
        """w* of each chain, (chains, d)."""
        if self.owner is None:
            return self.centers.expand(chains, -1)
        return self.centers[self.owner]

    def per_chain_center(self, values: Tensor, chains: int) -> Tensor:
        """Values at the centres (S, ...) as values of the chains (chains, ...)."""
        return values.expand(chains, *values.shape[1:]) if self.owner is None else values[self.owner]

    def displacement(self, w: Tensor) -> Tensor:
        """w - w*, (C, d)."""
        return w - self.center_of(len(w))

    def potential(self, loss: Tensor, w: Tensor) -> Tensor:
        """U = nβ L + γ/2 |w - w*|², float64 (C,), from losses already computed."""
        distance = self.displacement(w).double().square().sum(-1)
        return self.n_beta * loss + 0.5 * self.gamma * distance

    def distance(self, w: Tensor) -> Tensor:
        """|w - w*|², float64 (C,)."""
        return torch.linalg.vector_norm(self._shared_displacement(w), dim=-1).double().square()

    def gradient(self, loss_gradient: Tensor, w: Tensor, *, overwrite: bool = False) -> Tensor:
        """∇U = nβ ∇L + γ (w - w*), (C, d), from loss gradients already computed; in their place if `overwrite`."""
        n_beta, gamma = self._scales(w.dtype)
        total = loss_gradient.mul_(n_beta) if overwrite else loss_gradient * n_beta
        displacement = self._shared_displacement(w)
        if isinstance(gamma, float):
            return total.add_(displacement, alpha=gamma)
        return total.addcmul_(displacement, gamma)

    def _shared_displacement(self, w: Tensor) -> Tensor:
        """w - w*, (C, d), in memory that the next other w overwrites; not computed twice in a row for the same w.

        A step asks for it where the run has just measured the distance, and fresh memory costs more than subtracting.
        """
        of, version, held = self._displaced or (None, 0, w.new_empty(0))
        if of is w and version == w._version:
            return held
        if held.shape != w.shape or held.dtype != w.dtype:
            held = torch.empty_like(w, memory_format=torch.contiguous_format)
        self._displaced = w, w._version, torch.sub(w, self.center_of(w.shape[0]), out=held)
        return held

    def _scales(self, dtype: torch.dtype) -> tuple[float | Tensor, float | Tensor]:
        """nβ and γ as numbers, or as columns (C, 1): made once, since kernels ask at every step."""
        if dtype not in self._made:
            n_beta, gamma = (t.to(dtype)[:, None] if t.ndim else float(t.to(dtype)) for t in (self.n_beta, self.gamma))
            self._made[dtype] = n_beta, gamma
        return self._made[dtype]

    def draw_localizer(self, chains: int, noise: ChainNoise) -> Tensor:
        """Exact draws (chains, d) of N(w*, I/γ): the posterior at β = 0."""
        center = self.center_of(chains)
        scale = self.gamma.rsqrt().to(center.dtype).reshape((-1, 1) if self.gamma.ndim else ())
        return center + scale * noise.normal(torch.empty_like(center, memory_format=torch.contiguous_format))
