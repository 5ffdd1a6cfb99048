"""The import arrows: cli -> estimation -> estimators -> samplers, never back; one file owns each heavy import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("samplers/**/*.py"), *ROOT.glob("slt/**/*.py")])
OWNER = {
    "arviz": "slt/diagnostics.py",
    "cloudpickle": "slt/series/background.py",
    "distributed": "slt/integrations/dask.py",
    "lightning": "slt/integrations/lightning.py",
    "matplotlib": "slt/plot",
    "greenlet": "samplers/lockstep.py",
    "pyro": "samplers/pyro_nuts.py",
    "transformers": "slt/integrations/huggingface.py",
    "pymbar": "slt/free_energies/pymbar_reference.py",
    "typer": "slt/cli",
}
# Lower layers first: a module may import from its own layer and those before it.
LAYERS = [
    {"files", "records", "losses", "diagnostics", "linearized", "exact", "settings", "checkpoint_formats"},
    {"task", "checkpoints", "progress", "zoo"},
    {"model_loss"},
    {"llc"},
    {"scale", "free_energies", "rlct"},
    {"diagnosis", "trajectory"},
    {"plot", "transitions"},
    {"series"},
    {"report", "validation", "integrations"},
    {"cli", "__main__"},
]  # fmt: skip


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if module in names), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    relative = path.relative_to(ROOT)
    for name in imported(path):
        top, *rest = name.split(".")
        if relative.parts[0] == "samplers":
            assert top != "slt", f"{relative} imports {name}: samplers know nothing of learning coefficients"
        elif top == "slt" and rest and relative.name != "__init__.py":
            here, there = layer(relative.with_suffix("").parts[1]), layer(rest[0])
            if here is not None and there is not None:
                assert there <= here, f"{relative} imports {name}, which lies above it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_have_one_owner(path):
    relative = str(path.relative_to(ROOT))
    for name in imported(path):
        owner = OWNER.get(name.split(".")[0])
        assert owner is None or relative == owner or relative.startswith(f"{owner}/"), (
            f"{relative} imports {name}: only {owner} may"
        )


@pytest.mark.parametrize(
    "path", [*FILES, *sorted(ROOT.glob("benchmarks/**/*.py"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_modules_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 300, f"{path.relative_to(ROOT)} is longer than 300 lines: split it"
