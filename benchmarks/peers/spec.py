"""What a peer is asked to estimate, in this toolkit's terms, and the problem that its process builds from it.

    w <- w - (ε/2) (nβ ∇L + γ (w - w*)) + √ε ξ

with ε = `step_size` and L the mean loss of a minibatch. devinterp (lr, nbeta, localization) and canonical-interp
(learning_rate, nbeta, localization) mean the same by theirs, number for number: tests/test_peers.py holds them to the
closed form of a quadratic, step-size bias included. Their SGNHT is different: momentum of variance lr, no localization.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.models import LOSSES, MODELS


@dataclass(frozen=True)
class Spec:
    """Model, data and settings of one estimate."""

    model: str  # a name in models.MODELS
    arguments: dict[str, Any]  # of that model
    n_beta: float
    gamma: float
    step_size: float  # ε; of no use to NUTS
    chains: int
    draws: int  # of each chain
    burn_in: int  # steps before them
    batch_size: int | None = None  # None: all samples in every step
    steps_between_draws: int = 1
    sampler: str = "sgld"  # or "rmsprop-sgld", "sgnht" (devinterp 1.3.2), "nuts" (Pyro)
    options: dict[str, Any] = field(default_factory=dict)  # the sampler's own: eps, alpha, diffusion_factor, ...
    loss: str = "gaussian"  # a name in models.LOSSES
    noise_variance: float = 1.0
    init_loss: str = "theirs"  # "exact": L(w*) on all samples where the peer can be told
    compiled: bool = False  # canonical-interp: torch.compile
    seed: int = 0
    threads: int = 1
    dtype: str = "float32"

    def to_json(self, arrays: str, trace: str) -> str:
        """One line: the spec, the file of weights and data, and where the losses of every draw go."""
        return json.dumps({"spec": asdict(self), "arrays": arrays, "trace": trace})


@dataclass
class Problem:
    """A spec, built: model at w*, data."""

    spec: Spec
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @classmethod
    def of(cls, spec: Spec, arrays: str) -> Problem:
        """From an .npz with `inputs`, `targets` and, by state-dict name after `weights/`, the weights w*."""
        dtype = getattr(torch, spec.dtype)
        with np.load(arrays) as file:
            found = {name: torch.from_numpy(file[name]) for name in file.files}
        found = {name: value.to(dtype) if value.is_floating_point() else value for name, value in found.items()}
        model = MODELS[spec.model](**spec.arguments).to(dtype)
        model.load_state_dict({name[8:]: value for name, value in found.items() if name.startswith("weights/")})
        return cls(spec, model, found["inputs"], found["targets"])

    @property
    def batch_size(self) -> int:
        return self.spec.batch_size or len(self.inputs)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of every sample, (B,)."""
        return LOSSES[self.spec.loss](output, target, self.spec.noise_variance)

    def loss_at_center(self) -> float:
        """L(w*) on all samples."""
        with torch.no_grad():
            return float(self.losses(self.model(self.inputs), self.targets).mean())

    def loader(self) -> torch.utils.data.DataLoader:
        """Shuffled minibatches, or all samples at once."""
        data = torch.utils.data.TensorDataset(self.inputs, self.targets)
        return torch.utils.data.DataLoader(data, batch_size=self.batch_size, shuffle=self.spec.batch_size is not None)


@dataclass
class Found:
    """What a peer says: losses (chain, draw) of what it averages, its λ̂ chain by chain, and when sampling began."""

    losses: np.ndarray
    chains: list[float]
    init_loss: float
    sampling_started: float  # time.process_time()
