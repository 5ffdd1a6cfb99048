"""Task files and data in every accepted shape, and one line for each that cannot be used."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import slt
from slt.cli import main
from slt.task import DataSource

X, Y = torch.arange(12, dtype=torch.float32).view(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])


class Tuples(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return X[i], int(Y[i])


class Dicts(Tuples):
    def __getitem__(self, i):
        return {"x": X[i], "label": Y[i]}


@pytest.mark.parametrize(
    "data", [(X, Y), [X, Y], TensorDataset(X, Y), Tuples(), DataLoader(Tuples(), batch_size=2, shuffle=True)]
)
def test_data_in_every_shape(data):
    source = DataSource(data)
    assert source.n == 6
    for batch in (source.batch(torch.tensor([4, 1])), source.batch(slice(1, 5, 3))):
        assert batch.args[0].shape == (2, 2)
        assert batch.args[0][-1, 0] == (2.0 if batch.args[0][0, 0] == 8.0 else 8.0)
        assert batch.target.tolist() in ([0, 1], [1, 0])


def test_dict_samples_go_to_the_model_by_name():
    batch = DataSource(Dicts(), dtype=torch.float64).batch(slice(0, 3))
    assert batch.args == ()
    assert batch.kwargs["x"].dtype == torch.float64
    assert batch.target.tolist() == [0, 1, 0]


def test_data_too_large_to_keep_are_fetched_by_index(monkeypatch):
    monkeypatch.setattr("slt.task.RESIDENT_BYTES", 10)
    fetched, resident = DataSource(Tuples()), DataSource((X, Y))
    index = torch.tensor([5, 0, 2])
    assert torch.equal(fetched.batch(index).args[0], resident.batch(index).args[0])
    assert torch.equal(fetched.batch(slice(2, 4)).target, resident.batch(slice(2, 4)).target)


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], Y[0]


class Ragged(Tuples):
    def __getitem__(self, i):
        return torch.zeros(i + 1), 0


class Raises(Tuples):
    def __getitem__(self, i):
        raise OSError("disk gone")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X[:0], Y[:0]), "empty"),
        ((X, Y[:3]), "same number of samples"),
        ((X,), "inputs and targets"),
        (X, "a sample must be"),
        (Stream(), "map-style"),
        (iter([1]), "map-style"),
        (Ragged(), "stacked"),
        (Raises(), "disk gone"),
        ([{"x": X[0]}], "no target"),
        (["text", "more"], "tensors or numbers"),
    ],
)
def test_unusable_data(data, words):
    with pytest.raises(slt.InputError, match=words):
        DataSource(data)


GOOD = """
import torch
from torch import nn
def model():
    return nn.Linear(2, 3)
def data():
    return torch.arange(12.0).view(6, 2) / 10, torch.tensor([0, 1, 2, 0, 1, 2])
"""

BAD_TASKS = {
    "no such file": (None, "no such task file"),
    "syntax": ("def model(:", "task.py:1"),
    "raises on import": (GOOD + "\n1 / 0\n", "ZeroDivisionError"),
    "raises in model": (GOOD.replace("return nn.Linear(2, 3)", "raise KeyError('size')"), "task.py:5"),
    "exits": (GOOD + "\nimport sys; sys.exit(3)\n", "SystemExit"),
    "raises in data": (GOOD.replace("return torch.arange", "return torch.nope"), "AttributeError"),
    "no model": (GOOD.replace("def model", "def network"), "must define model()"),
    "model is no module": (GOOD.replace("nn.Linear(2, 3)", "42"), "torch.nn.Module"),
    "empty data": (
        GOOD.replace("6, 2) / 10", "6, 2)[:0]").replace("2, 0, 1, 2]", "]").replace("[0, 1, ]", "[]"),
        "empty",
    ),
    "scalar loss": (
        GOOD + "\ndef loss(output, target):\n    return nn.functional.cross_entropy(output, target)\n",
        "one loss per sample",
    ),
    "loss of one argument": (GOOD + "\ndef loss(output):\n    return output\n", "two arguments"),
    "loss raises": (GOOD + "\ndef loss(output, target):\n    raise RuntimeError('boom')\n", "boom"),
    "real targets": (GOOD.replace("torch.tensor([0, 1, 2, 0, 1, 2])", "torch.zeros(6, 3)"), "noise variance"),
    "wrong input width": (
        GOOD.replace("view(6, 2)", "view(4, 3)").replace("0, 1, 2, 0, 1, 2", "0, 1, 2, 0"),
        "RuntimeError",
    ),
    "target out of range": (GOOD.replace("1, 2, 0, 1, 2]", "1, 7, 0, 1, 2]"), "IndexError"),
    "not deterministic": (
        GOOD + "\ndef loss(output, target):\n    return output.sum(1) + torch.rand(len(output))\n",
        "not deterministic",
    ),
    "infinite loss": (
        GOOD + "\ndef loss(output, target):\n    return output.sum(1) / 0\n",
        "loss at the given weights",
    ),
}


def run_cli(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["slt", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", BAD_TASKS)
def test_bad_task_files_are_one_line_and_exit_code_2(name, tmp_path, monkeypatch, capsys):
    text, words = BAD_TASKS[name]
    task = tmp_path / "task.py"
    if text is not None:
        task.write_text(text)
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    code, out, err = run_cli(monkeypatch, capsys, "estimate", task, tmp_path / "w.pt", "--plot", tmp_path / "p.png")
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert words in err
    assert "task.py" in err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == (
        ["w.pt"] if text is None else ["task.py", "w.pt"]
    )


def test_a_good_task_prints_one_line_and_writes_what_was_asked(tmp_path, monkeypatch, capsys):
    (tmp_path / "task.py").write_text(GOOD)
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    outputs = ["--plot", tmp_path / "new" / "p.png", "--save", tmp_path / "t.nc"]
    knobs = ["--draws", 30, "--chains", 4, "--beta", 0.5, "--gamma", 100]
    code, out, err = run_cli(monkeypatch, capsys, "estimate", tmp_path / "task.py", tmp_path / "w.pt", *knobs, *outputs)
    assert code in (0, 1)
    assert out.startswith("llc = ")
    assert err == ""
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")
    assert slt.Trace.load(tmp_path / "t.nc").chains == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sampler", "magic"], "sampler must be one of"),
        (["--plot", "/proc/nowhere/p.png"], "cannot write"),
        (["--save", "."], "is a folder"),
        (["--chains", "0"], "chains must be"),
        (["--batch-size", "7", "--sampler", "sgld"], "batch_size must lie between 1 and n = 6"),
    ],
)
def test_bad_options(arguments, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "task.py").write_text(GOOD)
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    code, out, err = run_cli(monkeypatch, capsys, "estimate", tmp_path / "task.py", tmp_path / "w.pt", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path, monkeypatch, capsys):
    with pytest.raises(slt.InputError):
        run_cli(monkeypatch, capsys, "--debug", "estimate", tmp_path / "task.py", tmp_path / "w.pt")


def test_a_loader_of_a_subset_is_that_subset():
    x, y = torch.arange(20.0)[:, None], torch.zeros(20)
    chosen = torch.utils.data.SubsetRandomSampler([3, 5, 8])
    source = DataSource(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), sampler=chosen))
    assert source.n == 3
    assert source.batch(slice(0, 3)).args[0].flatten().tolist() == [3, 5, 8]


@pytest.mark.parametrize(("more", "words"), [([], "give --resume FILE"), (["--resume", "run.pt"], "goes on from it")])
def test_an_interrupted_estimate_says_what_is_kept(more, words, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **knobs):
        raise KeyboardInterrupt

    (tmp_path / "task.py").write_text(GOOD)
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    monkeypatch.setattr("slt.llc.estimation.estimate_llc", interrupted)
    code, out, err = run_cli(monkeypatch, capsys, "estimate", tmp_path / "task.py", tmp_path / "w.pt", *more)
    assert (code, out) == (130, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_weights_kept_in_half_precision_are_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "task.py").write_text(GOOD)
    torch.save(nn.Linear(2, 3).half().state_dict(), tmp_path / "w.pt")
    knobs = ["--draws", 30, "--chains", 4, "--beta", 0.5, "--gamma", 100, "--verbose"]
    _, out, err = run_cli(monkeypatch, capsys, "estimate", tmp_path / "task.py", tmp_path / "w.pt", *knobs)
    assert "the weights are float16: chains run in float32" in out
    assert "heat capacity" in err
