"""Every kind of layer: gradients of a batch of chains against autograd of the plain module, one chain at a time."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slt
from samplers.engine import ModuleLoss
from slt.losses import causal_lm_loss, cross_entropy
from slt.task import DataSource

SAMPLES, CLASSES, WORDS, LENGTH = 12, 5, 11, 6


class Attention(nn.Module):
    """A small causal transformer: embeddings, SDPA, layer norm, the output tied to the embedding, a position buffer."""

    def __init__(self, width: int = 8, heads: int = 2):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        self.norm, self.mixed, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.head = nn.Linear(width, WORDS, bias=False)
        self.head.weight = self.words.weight
        self.heads = heads
        self.register_buffer("order", torch.arange(LENGTH))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(self.order[: ids.shape[1]])
        q, k, v = self.mixed(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(attended.transpose(1, 2).flatten(2)))


class Pooled(nn.Module):
    """An embedding bag by hand, with an integer buffer that counts and a float one that shifts."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, 4, padding_idx=0), nn.Linear(4, CLASSES)
        self.register_buffer("seen", torch.tensor(3))
        self.register_buffer("shift", torch.linspace(-1, 1, 4))

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(ids).sum(1) / self.seen + self.shift))


def convolutions() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, groups=2),
        nn.GroupNorm(2, 4), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, CLASSES),
    )  # fmt: skip
    for _ in range(3):  # running statistics that are not 0 and 1
        model(torch.randn(8, 2, 6, 6) * 2 + 1)
    return model


def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=8, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def tokens() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, WORDS, (SAMPLES, LENGTH))
    return ids, ids


def named_tokens() -> list[dict]:
    ids, _ = tokens()
    labels = ids.clone()
    labels[:, -1] = -100
    return [{"input_ids": ids[i], "labels": labels[i]} for i in range(SAMPLES)]


def classes(*shape: int, dtype=None) -> tuple[Tensor, Tensor]:
    x = torch.randint(1, WORDS, (SAMPLES, *shape)) if dtype else torch.randn(SAMPLES, *shape)
    return x, torch.randint(0, CLASSES, (SAMPLES,))


MODELS = {
    "batch-norm": (
        lambda: nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES)),
        lambda: classes(3),
        cross_entropy,
    ),
    "convolutions": (convolutions, lambda: classes(2, 6, 6), cross_entropy),
    "embedding": (Pooled, lambda: classes(LENGTH, dtype=int), cross_entropy),
    "attention": (Attention, tokens, causal_lm_loss),
    "gpt2": (gpt2, named_tokens, causal_lm_loss),
}


def plain_gradient(model: nn.Module, row: Tensor, source: DataSource, loss) -> tuple[Tensor, Tensor]:
    """Mean loss and gradient of the module itself, its parameters overwritten."""
    model = copy.deepcopy(model).eval().to(row.dtype)
    start = 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(row[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()
    batch = source.batch(slice(0, source.n))
    value = loss(model(*batch.args, **batch.kwargs), batch.target).mean()
    value.backward()
    return value.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.fixture(params=MODELS)
def case(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make, data, loss = MODELS[request.param]
        return make(), data(), loss


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("evaluation", ["auto", "vmap", "loop"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_gradients_are_those_of_the_plain_module(case, evaluation, dtype, tolerance):
    model, data, loss = case
    source = DataSource(data, dtype=dtype)
    function = ModuleLoss(model, loss, source, dtype=dtype, evaluation=evaluation)
    w = function.center + 0.1 * torch.randn(3, function.dimension, dtype=dtype, generator=torch.Generator())
    values, gradients = function.value_and_grad(w)
    for row, value, gradient in zip(w, values, gradients, strict=True):
        expected, slope = plain_gradient(model, row, source, loss)
        assert value.item() == pytest.approx(expected.item(), rel=10 * tolerance)
        assert (gradient - slope).abs().max() < tolerance * max(1.0, slope.abs().max())
    torch.testing.assert_close(function.value(w), values)


def test_a_language_model_is_estimated_end_to_end(case):
    model, data, loss = case
    estimate = slt.estimate_llc(model, data, loss, chains=3, draws=8, sampler="sgld", batch_size=4, progress=False)
    assert torch.tensor(estimate.trace.loss).isfinite().all()
