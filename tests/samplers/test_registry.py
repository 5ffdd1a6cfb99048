"""Kernels by name."""

import pytest

from samplers.adaptive_preconditioner import Adam, RMSprop
from samplers.constraints import TrustRegion
from samplers.errors import InputError
from samplers.gradient import ControlVariate
from samplers.hmc import HMC
from samplers.registry import FULL_DATA, KERNELS, NAMES, make_kernel
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT


def test_names_and_what_they_make():
    assert NAMES == ("sgld", "sgld-cv", "psgld", "adam-sgld", "sghmc", "sgnht", "mala", "hmc", "nuts")
    made = {name: make_kernel(name, 1e-3) for name in KERNELS}
    assert {name: type(kernel) for name, kernel in made.items()} == {
        "sgld": SGLD, "sgld-cv": SGLD, "psgld": SGLD, "adam-sgld": SGLD,
        "sghmc": SGHMC, "sgnht": SGNHT, "mala": HMC, "hmc": HMC,
    }  # fmt: skip
    assert isinstance(made["sgld-cv"].gradient, ControlVariate)
    assert type(made["psgld"].preconditioner) is RMSprop
    assert type(made["adam-sgld"].preconditioner) is Adam
    assert made["mala"].leapfrog_steps == 1
    assert [name for name in KERNELS if made[name].full_data] == [name for name in FULL_DATA if name != "nuts"]
    assert all(kernel.step_size == 1e-3 for kernel in made.values())


def test_parts_are_replaced():
    region = TrustRegion(1.0)
    kernel = make_kernel("sghmc", 1e-3, momentum=0.5, gradient=ControlVariate(), constraint=region, preconditioner=None)
    assert kernel.momentum == 0.5
    assert kernel.constraint is region
    assert make_kernel("mala", 1e-3, jitter=0.1).jitter == 0.1


def test_kernels_share_no_state():
    first, second = make_kernel("sgld-cv", 1e-3), make_kernel("sgld-cv", 1e-3)
    assert first.gradient is not second.gradient


def test_what_is_not_there_is_named():
    with pytest.raises(InputError, match=r"sampler must be one of sgld, .*, or a kernel, got 'sgd'"):
        make_kernel("sgd", 1e-3)
    with pytest.raises(InputError, match="'sgld' has no momentum; it has preconditioner, gradient,"):
        make_kernel("sgld", 1e-3, momentum=0.9)
    with pytest.raises(InputError, match=r"samplers\.pyro_nuts\.nuts"):
        make_kernel("nuts", 1e-3)
