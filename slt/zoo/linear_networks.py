"""Linear regression, reduced-rank regression and deep linear networks, as potentials and as networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from slt.exact import families
from slt.exact.rlct import RLCT
from slt.zoo import oracles
from slt.zoo.model import AnalyticModel, Oracle, RegressionModel

# (inputs, hidden, outputs, rank)
_REDUCED_RANK = [
    (1, 1, 1, 0),
    (3, 2, 2, 0),
    (2, 2, 2, 0),
    (3, 2, 3, 0),
    (2, 2, 2, 1),
    (6, 2, 2, 0),
    (2, 2, 7, 1),
    (2, 5, 2, 0),
    (10, 5, 5, 2),
]
_DEEP_LINEAR = [
    ((1, 1, 1, 1), 0),
    ((1, 3, 3, 3), 0),
    ((2, 2, 2, 2), 0),
    ((2, 3, 3, 2), 1),
    ((3, 3, 3, 3), 0),
    ((4, 4, 4, 4, 4), 1),
    ((5, 10, 10, 5), 3),
]


def _network(widths: Sequence[int]) -> nn.Module:
    layers = [skip_init(nn.Linear, i, o, bias=False, dtype=torch.float64) for i, o in pairwise(widths)]
    return nn.Sequential(*layers)


def _center(widths: Sequence[int], rank: int) -> Tensor:
    """Every layer the identity on the first `rank` coordinates, zero elsewhere: the deepest true point."""
    layers = []
    for inputs, outputs in pairwise(widths):
        weight = torch.zeros(outputs, inputs, dtype=torch.float64)
        weight[range(rank), range(rank)] = 1.0
        layers.append(weight.flatten())
    return torch.cat(layers)


def linear_chain(name: str, group: str, widths: Sequence[int], rank: int, rlct: RLCT) -> AnalyticModel:
    """K = ½ ‖W_L ... W_1 - C‖², C the identity on `rank` coordinates: inputs N(0, I), unit noise."""
    sizes = [i * o for i, o in pairwise(widths)]
    center = _center(widths, rank)
    truth = torch.zeros(widths[-1], widths[0], dtype=torch.float64)
    truth[range(rank), range(rank)] = 1.0

    def potential(w: Tensor) -> Tensor:
        product: Tensor | None = None
        for part, (i, o) in zip(torch.split(w, sizes, dim=-1), pairwise(widths), strict=True):
            weight = part.reshape(*part.shape[:-1], o, i)
            product = weight if product is None else weight @ product
        assert product is not None
        return 0.5 * (product - truth).square().sum((-2, -1))

    def draw_inputs(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, widths[0], generator=generator, dtype=torch.float64)

    regression = RegressionModel(name, group, center, rlct, lambda: _network(widths), draw_inputs)
    return AnalyticModel(name, group, sum(sizes), potential, center, rlct, _chain_oracle(widths, rank), regression)


def _chain_oracle(widths: Sequence[int], rank: int) -> Oracle | None:
    """Rank zero only: with a layer of width 1 a product of norms, with two layers a Wishart integral."""
    if rank > 0:
        return None
    if 1 in widths:
        bottleneck = list(widths).index(1)
        others = [width for j, width in enumerate(widths) if j != bottleneck]
        return oracles.product_of_norms(others, [2] * len(others), scale=0.5)
    if len(widths) == 3 and min(widths) == 2:
        return oracles.rank_zero_regression(*widths)
    return None


def linear_regression(name: str, scales: Sequence[float]) -> AnalyticModel:
    """y = x·w, independent inputs of standard deviations s_i: K = ½ Σ s_i² (w_i - w_i*)², regular."""
    scale = torch.tensor(list(scales), dtype=torch.float64)
    center = torch.linspace(-1.0, 1.0, len(scale), dtype=torch.float64)
    rlct = families.regular(len(scale))

    def potential(w: Tensor) -> Tensor:
        return 0.5 * (scale * (w - center)).square().sum(-1)

    def draw_inputs(n: int, generator: torch.Generator) -> Tensor:
        return scale * torch.randn(n, len(scale), generator=generator, dtype=torch.float64)

    regression = RegressionModel(
        name, "linear-regression", center, rlct, lambda: _network([len(scale), 1]), draw_inputs
    )
    oracle = oracles.quadratic((scale**2).numpy())
    return AnalyticModel(name, "linear-regression", len(scale), potential, center, rlct, oracle, regression)


def models() -> list[AnalyticModel]:
    """Return linear regression, reduced-rank regression and deep linear networks."""
    plain = [
        linear_regression("linear-regression-5", [1.0] * 5),
        linear_regression("linear-regression-20-ill", torch.logspace(-1.5, 0.5, 20).tolist()),
    ]
    reduced = [
        linear_chain(f"reduced-rank-{m}-{h}-{n}-r{r}", "reduced-rank", (m, h, n), r, families.reduced_rank(m, h, n, r))
        for m, h, n, r in _REDUCED_RANK
    ]
    deep = [
        linear_chain(
            f"deep-linear-{'-'.join(map(str, widths))}-r{r}",
            "deep-linear",
            widths,
            r,
            families.deep_linear(widths, r),
        )
        for widths, r in _DEEP_LINEAR
    ]
    return plain + reduced + deep
