"""Every benchmark's quick run has the shape of a result, and the page says what the results say."""

import json
import math
import subprocess
from argparse import Namespace

import pytest
import torch

from benchmarks import NAMES, machine, page
from benchmarks import __main__ as command
from benchmarks.harness import (
    KEYS,
    RESULTS,
    VERDICTS,
    Kept,
    Table,
    command_line,
    drawing,
    execute,
    load,
    measure,
    plain,
    redrawn,
    report,
    verdict_of,
)


def numbers(value):
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", NAMES)
def test_quick_run(name):
    threads = torch.get_num_threads()
    try:
        result = execute(name, ["--quick"])
    finally:
        torch.set_num_threads(threads)
    assert set(KEYS) <= set(result)
    assert result["verdict"] in VERDICTS
    assert result["why"]
    found = numbers(result["measured"])
    assert found
    assert all(map(math.isfinite, found))
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["torch"]
    assert result["target"] == load(name).ABOUT.target
    assert result["command"] == f"python -m benchmarks {name} --quick"
    json.dumps(result, allow_nan=False)
    assert result["verdict"] in report(result)


@pytest.mark.parametrize("name", [name for name in NAMES if (RESULTS / f"{name}.json").exists()])
def test_stored_result(name):
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text())
    assert set(KEYS) <= set(result)
    assert result["name"] == name
    assert not result["quick"]
    assert redrawn(name, path) == result, f"run `python -m benchmarks {name} --redraw`"
    draw = drawing(load(name))
    assert path.with_suffix(".png").exists() == (draw is not None)
    if draw is not None:
        assert draw(result["measured"]).axes


def test_the_page_is_up_to_date():
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run `python -m benchmarks page`"


@pytest.mark.parametrize("name", NAMES)
def test_declared(name):
    about = load(name).ABOUT
    assert all([about.title, about.claim, about.source, about.target, about.criterion, about.duration])


def test_verdict_words():
    assert verdict_of([("a", True), ("b", True)]).word == "reproduced"
    assert verdict_of([("a", True), ("b", False)]).word == "partly"
    assert verdict_of([("a", False), ("b", False)]).word == "not"
    assert verdict_of([("a", True), ("b", False)]).why == "a; MISSED: b"


def test_an_interrupted_run_goes_on(tmp_path):
    path, calls = tmp_path / "x.partial.json", []

    def compute(value):
        calls.append(value)
        if value is None:
            raise KeyboardInterrupt
        return {"value": value}

    first = Kept(path)
    first("one", compute, 1)
    with pytest.raises(KeyboardInterrupt):
        first("two", compute, None)
    second = Kept(path)
    assert second("one", compute, 0) == {"value": 1}
    assert second("two", compute, 2) == {"value": 2}
    assert calls == [1, None, 2]
    assert second.seconds >= 0
    second.forget()
    assert not path.exists()


def test_items_are_the_same_before_and_after_the_disk(tmp_path):
    value = {"a": (1, 2.5), 3: torch.tensor([1.0, math.nan]), "c": torch.tensor(2.0).numpy()}
    fresh = Kept(tmp_path / "x")("key", lambda: value)
    assert fresh == Kept(tmp_path / "x")("key", dict) == {"a": [1, 2.5], "3": [1.0, None], "c": 2.0}
    assert plain(math.inf) is None


def test_runs_in_the_old_layout_are_kept():
    old = {"command": "...", "table": [], "runs": [dict(_run("quadratic-1", 0), learning_coefficient=0.625)]}
    options = Namespace(quick=True, seed=0, seeds=1, models="quadratic-1", volumes=1, threads=1)
    result = measure("rlct_accuracy", options, "", Kept(before=old))
    assert result["measured"]["runs"] == old["runs"]
    assert result["seconds"] >= old["runs"][0]["seconds"]


def _run(model, seed):
    return {
        "model": model, "seed": seed, "learning_coefficient": 0.5, "multiplicity": 1, "probability": 1.0,
        "std_error": 0.01, "by_volume": None, "status": "ok", "reasons": [], "particles": 1, "log_t": 1.0,
        "seconds": 7.0,
    }  # fmt: skip


def test_a_result_in_the_old_layout_takes_the_common_form(tmp_path):
    path = tmp_path / "rlct_accuracy.json"
    path.write_text(json.dumps({"command": "old", "table": [1], "runs": [_run("quadratic-1", 0)]}))
    result = execute("rlct_accuracy", ["--redraw", "--output", str(path)])
    assert result == json.loads(path.read_text())
    assert set(KEYS) <= set(result)
    assert result["machine"] is None
    assert result["measured"] == {"runs": [_run("quadratic-1", 0)]}
    assert path.with_suffix(".png").exists()


def test_the_command_leaves_out_where_the_result_goes():
    words = ["--output", "/somewhere/x.json", "--seeds", "3", "--fresh", "--output=/elsewhere"]
    assert command_line("free_energy", words) == "python -m benchmarks free_energy --seeds 3"


def test_tables():
    table = Table(("a", "|b|"), [("long cell", "2")], "What it is.")
    assert str(table) == "What it is.\na          |b|\nlong cell  2"
    assert page.markdown(table) == "What it is.\n\n| a | \\|b\\| |\n| --- | --- |\n| long cell | 2 |"


def test_all_goes_on_after_a_failing_one_and_is_resumed(monkeypatch, tmp_path, capsys):
    broken, asked = {NAMES[1]}, []

    def check_call(command):
        asked.append(command[-1])
        if command[-1] in broken:
            raise subprocess.CalledProcessError(1, command)
        return 0

    monkeypatch.setattr(subprocess, "check_call", check_call)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "write", lambda: None)
    assert command.run_all() == 1
    assert asked == list(NAMES)
    assert f"failed: {NAMES[1]}" in capsys.readouterr().out
    broken.clear()
    assert command.run_all() == 0
    assert asked == [*NAMES, NAMES[1]]
    assert not list(tmp_path.iterdir())


def test_all_runs_what_the_page_says(monkeypatch, tmp_path):
    lines = "python -m benchmarks memory --chains 1 2\npython -m benchmarks memory --seed 3"
    (tmp_path / "memory.json").write_text(json.dumps({"command": lines}))
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    assert command.recorded("memory") == ["memory --chains 1 2", "memory --seed 3"]
    assert command.recorded("coverage") == ["coverage"]


def test_a_result_of_several_runs_names_the_command_of_them_all(tmp_path):
    path = tmp_path / "rlct_accuracy.json"
    path.write_text(json.dumps({"measured": {"runs": [_run("quadratic-1", 0)]}}))
    result = execute("rlct_accuracy", ["--models", "quadratic-1", "--seeds", "1", "--output", str(path)])
    assert result["command"] == "python -m benchmarks rlct_accuracy --seeds 20 --volumes 1"
    assert result["seconds"] >= 7.0


@pytest.mark.parametrize(
    ("option", "said"),
    [("--seed=-1", "from 0 on, got '-1'"), ("--threads=0", "from 1 on"), ("--rounds=x", "from 1 on, got 'x'")],
)
def test_counts_that_are_none(option, said, capsys):
    with pytest.raises(SystemExit):
        execute("throughput", ["--quick", option])
    assert said in capsys.readouterr().err


def test_versions_are_those_of_the_peers_environments(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    installed = tmp_path / ".venv-peers/lib/python3.11/site-packages/pyro_ppl-9.8.7.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pyro-ppl\nVersion: 9.8.7\n")
    found = machine.versions(("pyro", "devinterp-1"))
    assert found["torch"] == torch.__version__
    assert (found["pyro"], found["devinterp-1"]) == ("9.8.7", None)


def test_command_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--list"])
    assert command.main() == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    monkeypatch.setattr("sys.argv", ["benchmarks", "no-such"])
    assert command.main() == 2
    assert "no benchmark is called 'no-such'" in capsys.readouterr().err
