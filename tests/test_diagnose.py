"""The dashboard of a run: chains that stand out, words, tables, pictures and the command."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

import slt
from slt.cli import main
from slt.diagnosis.diagnosis import diagnose
from slt.diagnosis.text import MOST_CHAINS, WIDTH, as_text, sparkline
from slt.diagnostics import summarize_mean
from slt.llc.estimation import estimate_potential
from slt.plot import plot_diagnosis, plot_estimate

GAMMA = 2.0
TASK = """
import torch
from torch import nn
import slt

def model():
    return nn.Linear(2, 1, bias=False).double()

def data():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, x @ torch.tensor([[0.5], [-1.0]], dtype=torch.float64)

loss = slt.gaussian_loss(1.0)
"""


def quadratic_run(**settings):
    center = torch.zeros(6, dtype=torch.float64)
    knobs = {"gamma": GAMMA, "chains": 6, "draws": 200, **settings}
    return estimate_potential(lambda w: 0.5 * w[..., :3].square().sum(-1), center, 500, **knobs)


@pytest.fixture(scope="module")
def run():
    return quadratic_run()


def with_chain(estimate, chain, change):
    """The estimate with the losses of one chain changed."""
    loss = estimate.trace.loss.copy()
    loss[chain] = change(loss[chain])
    return dataclasses.replace(estimate, trace=dataclasses.replace(estimate.trace, loss=loss))


@pytest.fixture(scope="module")
def cases(run):
    """Runs of every kind by name."""

    def lost(loss):
        return np.where(np.arange(len(loss)) > 100, np.nan, loss)

    every = dataclasses.replace(run.trace, loss=np.full_like(run.trace.loss, np.nan))
    return {
        "sound": run,
        "strange chain": with_chain(run, 2, lambda loss: loss + 0.05),
        "lost chain": with_chain(run, 1, lost),
        "all lost": dataclasses.replace(
            run, trace=every, llc=math.nan, std_error=math.nan, interval=(math.nan, math.nan), rhat=math.nan,
            ess=0.0, status="failed", reasons=["every chain turned non-finite"], sensitivity=None,
        ),
        "negative": with_chain(dataclasses.replace(run, llc=-1.0), 0, lambda loss: loss - 0.5),
        "single chain": quadratic_run(chains=1),
        "many chains": quadratic_run(chains=40, draws=50),
        "few draws": quadratic_run(chains=2, draws=4),
        "langevin": quadratic_run(sampler="sgld"),
        "beta 0": quadratic_run(beta=0.0, draws=50),
    }  # fmt: skip


NAMES = (
    "sound", "strange chain", "lost chain", "all lost", "negative", "single chain", "many chains", "few draws",
    "langevin", "beta 0",
)  # fmt: skip


def test_quantities_of_a_quadratic_have_their_exact_means(run):
    found = {q.name: q for q in diagnose(run).quantities}
    assert set(found) == {"llc", "distance", "energy", "acceptance"}
    n_beta, d = run.n * run.beta, 6
    ratio = n_beta / (n_beta + GAMMA)
    assert abs(found["llc"].mean - 1.5 * ratio) < 4 * found["llc"].std_error
    assert abs(found["energy"].mean - d / 2) < 4 * found["energy"].std_error
    squared = 3 / (n_beta + GAMMA) + 3 / GAMMA
    assert diagnose(run).distance == pytest.approx(squared**0.5, rel=0.1)
    assert diagnose(run).localizer == pytest.approx((d / GAMMA) ** 0.5)
    assert diagnose(run).confined == pytest.approx(0.5 * ratio, abs=0.1)


def test_sound_chains_agree_with_each_other(run):
    found = diagnose(run)
    assert all(abs(chain.z) < 4 for chain in found.chains)
    assert all(chain.rhat_without < 1.1 for chain in found.chains)
    assert np.mean([chain.llc for chain in found.chains]) == pytest.approx(run.llc)
    assert not any("Look at chain" in step for step in found.next_steps)


def test_the_chain_that_stands_out_is_named(cases):
    found = diagnose(cases["strange chain"])
    strange = [chain.chain for chain in found.chains if abs(chain.z) > 4]
    assert strange == [2]
    assert found.chains[2].rhat_without < 1.05 < found.quantities[0].rhat
    assert min(range(6), key=lambda c: found.chains[c].rhat_without) == 2
    assert any("Look at chain 2" in step for step in found.next_steps)


def test_a_lost_chain_is_named_and_left_out(cases, run):
    found = diagnose(cases["lost chain"])
    assert found.chains[1].lost_at == 101
    assert math.isnan(found.chains[1].llc)
    assert "lost at draw 101" in as_text(found)
    others = np.mean([chain.llc for chain in diagnose(run).chains if chain.chain != 1])
    assert found.quantities[0].mean == pytest.approx(others)


def test_a_failed_run_says_so_first(cases):
    found = diagnose(cases["all lost"])
    assert found.next_steps[0].startswith("Do not use this number")
    assert found.quantities == ()
    assert found.curves == {}
    assert "every chain turned non-finite" in as_text(found)


@pytest.mark.parametrize("name", NAMES)
def test_every_dashboard_fits_and_carries_its_scale(cases, name):
    found = diagnose(cases[name])
    for width in (80, WIDTH):
        text = as_text(found, "run.nc", width)
        assert max(len(line) for line in text.splitlines()) <= width
        line = next(line for line in text.splitlines() if "llc = " in line)
        assert "n·beta = " in line
        assert "gamma = " in text
        assert found.estimate.status in text.splitlines()[text.splitlines().index("verdict") + 1]
    assert "…" not in as_text(found)
    values = json.loads(found.to_json())
    assert len(values["chains"]) == found.estimate.chains
    assert values["estimate"]["gamma"] == GAMMA
    assert set(values["curves"]) == set(found.curves)


def test_of_many_chains_the_furthest_are_shown(cases):
    text = as_text(diagnose(cases["many chains"]))
    assert f"the {MOST_CHAINS} furthest from the others, of 40 chains" in text


def drawn(picture):
    return picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


@pytest.mark.parametrize("name", ["lost chain", "all lost", "negative", "few draws", "langevin", "beta 0"])
def test_every_picture_is_drawn(cases, name, tmp_path):
    plot_diagnosis(diagnose(cases[name]), tmp_path / "picture.png", name)
    assert drawn(tmp_path / "picture.png")


@pytest.mark.parametrize("name", ["lost chain", "all lost"])
def test_the_smaller_picture_is_drawn(cases, name, tmp_path):
    plot_estimate(cases[name], tmp_path / "estimate.png")
    assert drawn(tmp_path / "estimate.png")


def test_pictures_by_suffix(run, tmp_path):
    plot_diagnosis(diagnose(run), tmp_path / "picture.svg")
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    with pytest.raises(slt.InputError, match=r"use a name ending in \.png"):
        plot_diagnosis(diagnose(run), tmp_path / "picture.nonsense")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.svg"]


def test_a_single_chain_is_held_against_itself():
    drifting = np.linspace(0, 1, 200)[None] + 0.01 * np.random.default_rng(0).normal(size=(1, 200))
    steady = np.random.default_rng(0).normal(size=(1, 200))
    assert summarize_mean(drifting).rhat > 1.5
    assert summarize_mean(steady).rhat < 1.05
    assert math.isnan(summarize_mean(steady[:, :4]).rhat)


def test_sparklines():
    assert sparkline(np.array([0.0, 1.0, 2.0, 3.0]), 0.0, 3.0) == "▁▃▆█"
    assert sparkline(np.array([-9.0, np.nan, 9.0]), 0.0, 3.0) == "▁!█"
    assert sparkline(np.ones(100), 1.0, 1.0, width=5) == "▁▁▁▁▁"


def command(monkeypatch, capsys, *arguments):
    """Exit code, standard output and standard error of `slt`."""
    monkeypatch.setattr("sys.argv", ["slt", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return stopped.value.code or 0, out, err


def test_the_command(run, tmp_path, monkeypatch, capsys):
    run.save(tmp_path / "run.nc")
    code, out, _ = command(monkeypatch, capsys, "diagnose", tmp_path / "run.nc", "--plot", tmp_path / "run.png")
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= WIDTH + len(str(tmp_path))
    for words in ("over all chains", "chain by chain", "llc over gamma", "llc over beta", "verdict", "what to do next"):
        assert words in out
    assert drawn(tmp_path / "run.png")
    code, out, _ = command(monkeypatch, capsys, "diagnose", tmp_path / "run.nc", "--json")
    assert code == 0
    assert json.loads(out)["estimate"]["llc"] == run.llc


def test_the_command_on_two_runs(run, tmp_path, monkeypatch, capsys):
    run.save(tmp_path / "a.nc")
    quadratic_run(gamma=4.0).save(tmp_path / "b.nc")
    code, out, _ = command(monkeypatch, capsys, "diagnose", tmp_path / "a.nc", tmp_path / "b.nc")
    assert code == 0
    assert "warning: these were made at different scales" in out
    assert "NOT COMPARABLE" in out
    code, _, err = command(monkeypatch, capsys, "diagnose", tmp_path / "a.nc", tmp_path / "b.nc", "--plot", "x.png")
    assert code == 2
    assert "belong to one run" in err


@pytest.mark.parametrize("content", [None, b"", b"no netCDF", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_bad_files_are_one_line(content, tmp_path, monkeypatch, capsys):
    if content is not None:
        (tmp_path / "run.nc").write_bytes(content)
    code, out, err = command(monkeypatch, capsys, "diagnose", tmp_path / "run.nc")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "slt estimate TASK CHECKPOINT --save" in err


def test_from_an_estimate_to_its_ladder(tmp_path, monkeypatch, capsys):
    task, weights, saved = tmp_path / "task.py", tmp_path / "weights.pt", tmp_path / "run.nc"
    task.write_text(TASK)
    torch.save({"weight": torch.tensor([[0.5, -1.0]], dtype=torch.float64)}, weights)
    knobs = ("--gamma", "1", "--chains", "4", "--draws", "100")
    assert command(monkeypatch, capsys, "estimate", task, weights, *knobs, "--save", saved)[0] == 0
    code, out, _ = command(monkeypatch, capsys, "diagnose", saved, "--ladder", task)
    assert code == 0
    assert "sampled" in out or "× 4 " in out
    assert command(monkeypatch, capsys, "diagnose", saved)[1] == out  # kept in the file
    weights.unlink()
    code, _, err = command(monkeypatch, capsys, "diagnose", saved, "--ladder", task)
    assert code == 2
    assert "give --checkpoint" in err
