"""Any network linearized at w*: the one family of networks whose finite-n learning coefficient is a closed form."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vmap

from samplers.parameters import ParameterLayout


class Linearized(nn.Module):
    """f(w*) + J(w*) (w - w*): the first-order expansion of `model` at its own weights w* (the NTK regime).

    Its only parameter is the flat vector `weights` (d,), which starts at w*. Under squared error with targets f(w*)
    the loss is exactly quadratic, so every learning coefficient is known (see `quadratic_llc`).
    """

    center: Tensor

    def __init__(self, model: nn.Module):
        super().__init__()
        frozen = copy.deepcopy(model).eval().requires_grad_(False)
        self._frozen = (frozen,)  # in a tuple: its parameters are not this module's
        self.layout = ParameterLayout.of(frozen.named_parameters())
        center = self.layout.flatten(dict(frozen.named_parameters()))
        self.register_buffer("center", center.clone())
        self.weights = nn.Parameter(center.clone())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The linearized output, by one forward-mode derivative."""

        def network(parameters: Mapping[str, Tensor]) -> Tensor:
            return functional_call(self._frozen[0], dict(parameters), args, kwargs)

        at, along = self.layout.unflatten(self.center), self.layout.unflatten(self.weights - self.center)
        expansion = jvp(network, (at,), (along,))  # output and its change
        return expansion[0] + expansion[1]


def gauss_newton_eigenvalues(model: nn.Module, inputs: Tensor, noise_variance: float = 1.0) -> Tensor:
    """Eigenvalues h (d,) of (1/nσ²) Σ_i J_iᵀ J_i, J_i (outputs, d) the Jacobian of sample i; float64, ascending.

    They are the Hessian of the mean Gaussian loss ½|y-f|²/σ² of the linearized model, at every w.
    """
    layout = ParameterLayout.of(model.named_parameters())
    center = layout.flatten(dict(model.named_parameters())).detach().double()
    network = copy.deepcopy(model).eval().double()

    def output(w: Tensor, x: Tensor) -> Tensor:
        return functional_call(network, layout.unflatten(w), (x[None],)).flatten()

    total = torch.zeros(len(center), len(center), dtype=torch.float64)
    for piece in inputs.double().split(64):
        jacobian = vmap(jacrev(output), in_dims=(None, 0))(center, piece).flatten(0, 1)
        total += jacobian.T @ jacobian
    return torch.linalg.eigvalsh(total / (len(inputs) * noise_variance)).clamp(min=0)


def quadratic_llc(curvature: Tensor, n_beta: float, gamma: float, step_size: float = 0.0) -> float:
    """nβ (E[L] - L(w*)) = ½ Σ nβ h_i / (a_i (1 - ε a_i / 4)), a_i = nβ h_i + γ, for a quadratic loss with Hessian h
    (d,).

    ε = 0 is the exact posterior; ε > 0 the stationary law of unpreconditioned full-gradient Langevin steps of that
    size, which exists while ε a_i < 4.
    """
    a = n_beta * curvature + gamma
    return float((0.5 * n_beta * curvature / (a * (1 - step_size * a / 4))).sum())
