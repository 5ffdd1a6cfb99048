"""One of each: every kernel, with every kind of part, for what must hold of all of them."""

import torch

from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.constraints import GradientHyperplane, Mask, TrustRegion
from samplers.gradient import ControlVariate
from samplers.hmc import HMC, mala
from samplers.low_rank import LowRank
from samplers.noise_compensation import NoiseCompensation
from samplers.preconditioner import Diagonal
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT


def all_kernels(dimension: int, epsilon: float) -> dict:
    """Every composition by a name."""
    diagonal = Diagonal(torch.linspace(0.5, 1.5, dimension).double())
    vectors = torch.linalg.qr(torch.arange(2.0 * dimension).double().reshape(dimension, 2).cos())[0]
    low_rank = LowRank(vectors, torch.tensor([0.3, 0.6]).double(), diagonal.diagonal)
    mask = Mask(torch.arange(dimension) % 3 != 0)
    return {
        "sgld": SGLD(epsilon),
        "sgld-cv": SGLD(epsilon, low_rank, ControlVariate(), compensation=NoiseCompensation()),
        "psgld": SGLD(epsilon, RMSprop(adapt=40)),
        "psgld-moving": SGLD(epsilon, RMSprop(adapt=None), constraint=mask),
        "adam-sgld": SGLD(epsilon, Adam(adapt=40), ControlVariate()),
        "sghmc": SGHMC(epsilon, 0.8, diagonal, compensation=NoiseCompensation()),
        "sghmc-hyperplane": SGHMC(epsilon, 0.0, constraint=GradientHyperplane(mask)),
        "sgnht": SGNHT(epsilon, 0.8, 0.05, diagonal, ControlVariate()),
        "sgnht-ball": SGNHT(epsilon, 0.8, constraint=TrustRegion(0.5, mask)),
        "mala": mala(epsilon, low_rank),
        "hmc": HMC(epsilon, 3, diagonal),
        "hmc-ball": HMC(epsilon, 3, diagonal, caution=0.2, constraint=TrustRegion(2.0)),
    }
