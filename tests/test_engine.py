"""One batched engine: rows that do not know of each other, pieces that fit, and what happens when they do not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import slt
from samplers.adaptive_preconditioner import RMSprop
from samplers.batches import Batches
from samplers.engine import ModuleLoss, Potential
from samplers.gradient import ControlVariate
from samplers.hmc import HMC
from samplers.memory import MemoryBudget, is_out_of_memory
from samplers.noise import ChainNoise
from samplers.posterior import LocalPosterior
from samplers.run import Run
from samplers.sghmc import SGHMC
from samplers.sgld import SGLD
from samplers.sgnht import SGNHT
from slt.losses import cross_entropy
from slt.task import DataSource

SAMPLES, BATCH = 60, 20


def small_network(evaluation: str = "auto", loss=cross_entropy, dtype=torch.float64, **knobs) -> ModuleLoss:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        data = torch.randn(SAMPLES, 4), torch.randint(0, 3, (SAMPLES,))
    return ModuleLoss(model, loss, DataSource(data, dtype=dtype), dtype=dtype, evaluation=evaluation, **knobs)


def rows(function: ModuleLoss, chains: int) -> torch.Tensor:
    shape = chains, function.dimension
    return function.center + 0.1 * torch.randn(shape, dtype=function.center.dtype, generator=torch.Generator())


# ---- chains are rows that do not know of each other


def draws_of(function, kernel, chains, steps=100, batch=BATCH, centers=None, beta=0.2, gamma=20.0):
    """Trace of the chains with the given indices, all in one batch; those of one centre, or of the centres (C, d)."""
    center = function.center if centers is None else centers
    owner = None if centers is None else range(len(centers))
    posterior = LocalPosterior(function, center, n=SAMPLES, beta=beta, gamma=gamma, owner=owner)
    noise = ChainNoise(3, list(chains))
    batches = Batches(SAMPLES, None if kernel.full_data else batch, 3)
    run = Run(posterior, kernel, posterior.draw_localizer(len(noise), noise), noise=noise, batches=batches)
    return run.advance(steps)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda: SGLD(1e-3),
        lambda: SGLD(1e-3, gradient=ControlVariate()),
        lambda: SGHMC(1e-3),
        lambda: SGNHT(1e-3),
        lambda: HMC(1e-2, 3),
    ],
    ids=["sgld", "sgld-cv", "sghmc", "sgnht", "hmc"],
)
def test_sixteen_chains_are_the_same_in_one_batch_in_four_or_looped(kernel):
    whole = draws_of(small_network("vmap"), kernel(), range(16))
    quarters = [draws_of(small_network("vmap"), kernel(), range(4 * k, 4 * k + 4)) for k in range(4)]
    looped = draws_of(small_network("loop"), kernel(), range(16))
    for name in ("loss", "center_loss", "distance"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(np.concatenate([getattr(q, name) for q in quarters]), expected, rtol=1e-9)
        np.testing.assert_allclose(getattr(looped, name), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", [lambda: SGLD(1e-3, gradient=ControlVariate()), lambda: HMC(1e-2, 3)])
def test_centres_temperatures_and_localizations_are_rows_of_one_batch(kernel):
    function = small_network()
    centers = torch.stack([function.center, function.center + 0.3])
    grid = [(c, beta, gamma) for c in (0, 1) for beta in (0.1, 0.4) for gamma in (10.0, 40.0)]
    together = draws_of(
        function,
        kernel(),
        range(8),
        centers=torch.stack([centers[c] for c, _, _ in grid]),
        beta=[beta for _, beta, _ in grid],
        gamma=[gamma for _, _, gamma in grid],
    )
    for k, (c, beta, gamma) in enumerate(grid):
        alone = draws_of(function, kernel(), [k], centers=centers[c : c + 1], beta=beta, gamma=gamma)
        for name in ("loss", "center_loss", "distance"):
            np.testing.assert_allclose(getattr(alone, name)[0], getattr(together, name)[k], rtol=1e-9)
    assert len({round(float(value), 6) for value in together.distance.mean(1)}) == 8  # the rows do differ


# ---- pieces that fit


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 40), st.integers(1, 4000))
def test_pieces_cover_everything_once_and_fit(chains, samples, each, together, size):
    seen = np.zeros((chains, samples), int)
    for sample, row in MemoryBudget(size).pieces(chains, samples, each, together):
        seen[row, sample] += 1
        area = seen[row, sample].size
        assert area * each <= size or area == 1
        assert row.stop - row.start <= together
    assert (seen == 1).all()


@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
@pytest.mark.parametrize("memory", [1, 300, 5_000, 40_000])
def test_pieces_change_rounding_only(evaluation, memory):
    whole, pieces = small_network(evaluation), small_network(evaluation, memory=memory)
    w = rows(whole, 5)
    index = torch.randperm(SAMPLES, generator=torch.Generator())[:33]
    for samples in (None, index):
        for a, b in zip(whole.value_and_grad(w, samples), pieces.value_and_grad(w, samples), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(whole.value(w, samples), pieces.value(w, samples), rtol=1e-12, atol=0)
        torch.testing.assert_close(whole.per_sample(w, samples), pieces.per_sample(w, samples), rtol=1e-12, atol=0)


# ---- memory runs out


def hungry(most: int, error: Exception):
    """A loss that cannot hold more than `most` samples at once."""

    def loss(output, target):
        if len(target) > most:
            raise error
        return cross_entropy(output, target)

    return loss


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_running_out_of_memory_halves_the_pieces_and_says_so(error, evaluation):
    plain = small_network(evaluation)
    function = small_network(evaluation)
    function._passes.loss = hungry(9, error)
    w = rows(plain, 4)
    for a, b in zip(plain.value_and_grad(w), function.value_and_grad(w), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    assert function.remarks
    assert all("out of memory: went on with pieces of at most" in remark for remark in function.remarks)
    before = len(function.remarks)
    function.value_and_grad(w)
    assert len(function.remarks) == before  # the smaller size is kept


def test_what_does_not_fit_at_all_is_refused_in_one_line():
    function = small_network()
    function._passes.loss = hungry(0, OUT_OF_MEMORY[0])
    with pytest.raises(slt.InputError, match="out of memory even for one sample of one chain: CUDA"):
        function.value_and_grad(rows(function, 2))


def test_other_errors_are_not_taken_for_memory():
    function = small_network()
    function._passes.loss = hungry(0, RuntimeError("expected scalar type"))
    with pytest.raises(RuntimeError, match="expected scalar type"):
        function.value(rows(function, 2))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_an_estimate_carries_the_remark(digits, digits_mlp):
    count = 0

    def loss(output, target):
        nonlocal count
        count += 1
        if count == 20:
            raise MemoryError("can't allocate memory")
        return cross_entropy(output, target)

    run = slt.estimate_llc(digits_mlp, digits, loss, chains=4, draws=10, progress=False)
    assert "out of memory" in run.remarks[0]
    assert run.to_dict()["remarks"] == list(run.remarks)
    assert run.remarks[0] in str(run)


# ---- chains that turn non-finite


def cliff(w: torch.Tensor) -> torch.Tensor:
    """½(w₁² + w₂²) up to w₀ = 30, and neither a number nor a gradient beyond."""
    return 0.5 * w[:, 1:].square().sum(-1) + 1e-3 * (30 - w[:, 0]).sqrt()


KERNELS = {
    "sgld": lambda: SGLD(0.05),
    "rmsprop": lambda: SGLD(0.05, preconditioner=RMSprop()),
    "sghmc": lambda: SGHMC(0.05),
    "sgnht": lambda: SGNHT(0.05),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_chain_that_turns_non_finite_is_frozen_and_the_others_do_not_notice(name):
    posterior = LocalPosterior(Potential(cliff, 3), torch.zeros(3), n=1, beta=1.0, gamma=1e-6)
    start = torch.zeros(4, 3)

    def run(first: float) -> tuple[Run, slt.Trace]:
        position = start.clone()
        position[1, 0] = first
        run = Run(posterior, KERNELS[name](), position, noise=ChainNoise(0, 4), batches=Batches(10, None, 0))
        return run, run.advance(60)

    sound, expected = run(0.0)
    lost, trace = run(29.9)
    others = [0, 2, 3]
    assert sound.alive.all()
    assert list(lost.alive) == [True, False, True, True]
    for field in ("loss", "center_loss", "distance"):
        np.testing.assert_array_equal(getattr(trace, field)[others], getattr(expected, field)[others])
    assert torch.equal(lost.position[others], sound.position[others])
    bad = np.isnan(trace.loss[1])
    draw = int(bad.argmax())
    assert 0 < draw < 60
    assert bad[draw:].all()
    assert lost.position.isfinite().all()
    assert len(set(trace.distance[1, draw:])) == 1  # it stays at its last finite position
    state = [part for part in lost.state if isinstance(part, torch.Tensor)]
    assert all(part.isfinite().all() for part in state)


def test_corrected_kernels_refuse_the_step_instead():
    posterior = LocalPosterior(Potential(cliff, 3), torch.zeros(3), n=1, beta=1.0, gamma=1e-6)
    run = Run(posterior, HMC(0.05), torch.full((4, 3), 29.9), noise=ChainNoise(0, 4), batches=Batches(10, None, 0))
    assert np.isfinite(run.advance(50).loss).all()
    assert run.alive.all()


# ---- how chains are evaluated


def test_small_models_go_together_large_ones_one_by_one():
    function = small_network("auto")
    function.value_and_grad(rows(function, 3))
    assert function.evaluation == "vmap"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 10))
        data = torch.randn(300, 500), torch.randint(0, 10, (300,))
    large = ModuleLoss(model, cross_entropy, DataSource(data))
    large.value_and_grad(large.center.expand(2, -1))
    assert large.evaluation == "loop"
    assert large._passes.flops == pytest.approx(2 * (2 * 500 * 500 + 3 * 500 * 10), rel=0.01)


@pytest.mark.parametrize("evaluation", ["magic", None])
def test_an_unknown_evaluation_is_refused(evaluation):
    with pytest.raises(slt.InputError, match="evaluation must be one of auto, vmap, loop, compile"):
        small_network(evaluation)


@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_passes_in_bfloat16_leave_the_weights_in_float32(evaluation):
    exact, coarse = (small_network(evaluation, dtype=torch.float32, amp=amp) for amp in (False, True))
    w = rows(exact, 3)
    (value, gradient), (rough, slope) = exact.value_and_grad(w), coarse.value_and_grad(w)
    assert slope.dtype == torch.float32
    assert not torch.equal(slope, gradient)
    torch.testing.assert_close(rough, value, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(slope, gradient, rtol=5e-2, atol=5e-2)


def test_without_a_compiler_passes_go_on_and_say_so(monkeypatch):
    def refuse(graph, inputs, options):
        raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found")

    monkeypatch.setattr(torch._inductor, "compile", refuse)
    function, plain = small_network("compile"), small_network()
    w, index = rows(function, 3), torch.arange(20)
    function.settle(full_data=False)
    for a, b in zip(function.value_and_grad(w, index), plain.value_and_grad(w, index), strict=True):
        assert torch.equal(a, b)
    assert function.evaluation == "vmap"
    assert "no working C++ compiler" in function.remarks[0]


class Branching(nn.Module):
    """A model whose output depends on the values of its batch by way of Python."""

    def __init__(self, look):
        super().__init__()
        self.linear, self.look = nn.Linear(4, 3, dtype=torch.float64), look

    def forward(self, x):
        return self.linear(x) * self.look(x)


@pytest.mark.parametrize(
    "look",
    [lambda x: 2.0 if bool(x.mean() > 0) else -1.0, lambda x: float(x.sum()), lambda x: float(x.numpy().sum())],
    ids=["branch", "number", "numpy"],
)
def test_what_a_model_makes_of_values_in_python_is_never_compiled_into_it(look):
    x, y = torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    functions = [
        ModuleLoss(Branching(look), cross_entropy, DataSource((x, y)), evaluation=evaluation)
        for evaluation in ("compile", "loop")
    ]
    functions[0].settle(full_data=False)
    w = rows(functions[1], 2)
    for index in (torch.arange(20), torch.arange(20) + 20):
        (value, slope), (expected, gradient) = (function.value_and_grad(w, index) for function in functions)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(slope, gradient, rtol=1e-12, atol=1e-14)
    assert functions[0].evaluation == "vmap"
    assert "not compiled" in functions[0].remarks[0]


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", ["vmap", "loop"])
def test_compiled_passes_agree_with_eager_ones(evaluation):
    function, plain = small_network("compile"), small_network(evaluation)
    function._passes.vmappable = evaluation == "vmap"
    w, index = rows(function, 3), torch.arange(20)
    state = torch.get_rng_state()
    function.settle(full_data=False)
    for samples in (index, index + 20):
        for a, b in zip(function.value_and_grad(w, samples), plain.value_and_grad(w, samples), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        for at in (w[:1], w[1:], function.center[None]):
            torch.testing.assert_close(function.value(at, samples), plain.value(at, samples))
    assert function.evaluation == f"{evaluation}+compile"
    assert not function.remarks
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(function.value_and_grad(w)[1], plain.value_and_grad(w)[1])  # full passes stay as they were
