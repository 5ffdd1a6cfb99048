"""`slt track --cluster`: the same bits from a Dask cluster; one line where there is none."""

import sys

import distributed
import numpy as np
import pytest
from safetensors.torch import save_file
from series_task import TASK, weights

import slt
from slt.cli import main
from slt.integrations import cluster

QUICK = {"chains": 4, "draws": 12, "progress": False}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "series").mkdir()
    for step in (0, 10, 20, 40):
        save_file(weights(step), tmp_path / "series" / f"step_{step}.safetensors")
    return tmp_path


def local(processes):
    """Workers on this machine, spoken to over TCP, so that jobs and estimates are pickled whatever the workers are."""
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=processes, protocol="tcp", host="127.0.0.1", dashboard_address=None
    )


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cluster_does_not_change_a_bit(folder, processes, monkeypatch, capsys):
    alone = slt.track(folder / "task.py", folder / "series", folder / "alone", **QUICK)
    with local(processes) as there:
        with cluster(there.scheduler_address) as executor:
            found = slt.track(folder / "task.py", folder / "series", folder / "run", executor=executor, **QUICK)
        monkeypatch.chdir(folder)
        command = ["slt", "track", "task.py", "series", "-o", "command", "--chains", "4", "--draws", "12"]
        monkeypatch.setattr(sys, "argv", [*command, "--cluster", there.scheduler_address])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code in (0, 1)  # 1: these few draws may give no number that can be used
    assert "results in command" in capsys.readouterr().out
    for other in (found, slt.read_trajectory(folder / "command")):
        np.testing.assert_array_equal(other.llc, alone.llc)
        np.testing.assert_array_equal(other.chain_llc, alone.chain_llc)


def test_no_scheduler_there(monkeypatch):
    import slt.integrations.dask

    monkeypatch.setattr(slt.integrations.dask, "PATIENCE", 0.2)
    for address, why in (
        ("tcp://127.0.0.1:1", "Timed out"),
        ("localhost", "missing port number"),
        ("smtp://localhost:25", "unknown address scheme"),
    ):
        with pytest.raises(slt.InputError, match=why) as caught, cluster(address):
            pass
        assert str(caught.value).startswith(f"{address}: no Dask scheduler answers there")
        assert "\n" not in str(caught.value)
