"""`slt track --watch`: transitions named and told to a command, without a shell; Ctrl-C."""

import json
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from series_task import TASK

import slt
from slt.cli import main
from slt.cli.following import follow, remembered_interrupt, split_command
from slt.trajectory import Trajectory
from slt.transitions.detection import find_transitions

HOOK = """
import json, os, sys
told = {"transition": json.load(sys.stdin), "folder": os.environ["SLT_FOLDER"], "run": os.environ["SLT_RUN"]}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


def transitions():
    step, llc = np.arange(1, 31), np.where(np.arange(30) < 15, 4.0, 10.0)
    return find_transitions(Trajectory(step=step, llc=llc, std_error=0.04 * llc, loss=np.full(30, np.nan)))


def test_the_command_is_told_and_no_shell_sees_a_name(tmp_path, capsys):
    hook, told = tmp_path / "a hook.py", tmp_path / "told.jsonl"
    hook.write_text(HOOK)
    wicked = tmp_path / "$(touch pwned); `touch pwned` & 'x"
    command = split_command(f"{sys.executable} '{hook}' '{told}'")
    found = transitions()
    follow(iter(found * 2), command, wicked, tmp_path / "run", threading.Event())
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    expected = {"transition": json.loads(json.dumps(found[0].to_dict())), "folder": str(wicked)}
    assert lines == [{**expected, "run": str(tmp_path / "run")}] * 2
    assert capsys.readouterr().out.count("transition: llc up, loss unknown: llc +6") == 2
    assert not list(tmp_path.glob("**/pwned"))


def test_a_command_that_fails_is_said_and_the_rest_goes_on(tmp_path, capsys):
    command = split_command(f"{sys.executable} -c 'raise SystemExit(3)'")
    follow(iter(transitions() * 2), command, tmp_path, tmp_path, threading.Event())
    said = capsys.readouterr()
    assert said.err.count("slt: --on-transition failed: ") == 2
    assert "exit status 3" in said.err
    assert said.out.count("transition: ") == 2


def test_commands_that_cannot_be_run_are_refused_at_once():
    assert split_command(None) is None
    with pytest.raises(slt.InputError, match="no such program: 'no-such-program'"):
        split_command("no-such-program -x")
    with pytest.raises(slt.InputError, match="No closing quotation"):
        split_command("mail 'me")
    with pytest.raises(slt.InputError, match="no such program"):
        split_command("")


def run(*arguments, folder):
    command = [sys.executable, "-m", "slt", "track", "task.py", "series", "-o", "run", "--chains", "4", "--draws", "12"]
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_ends_it_with_everything_finished_on_disk(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    process = run("--watch", "--interval", "0.1", folder=tmp_path)
    (tmp_path / "series").mkdir()
    for step in (0, 10, 20):
        save_file({"weight": torch.ones(1, 3), "bias": torch.full((1,), step / 1000)}, tmp_path / "partial")
        (tmp_path / "partial").rename(tmp_path / "series" / f"step_{step}.safetensors")
    late = time.monotonic() + 120
    while len(list(tmp_path.glob("run/estimates/step*.nc"))) < 3 and time.monotonic() < late:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "stopped; what is finished is kept" in err
    assert "Traceback" not in err
    assert process.returncode in (0, 1), err  # 1: these few draws may give no number that can be used
    assert list(slt.read_trajectory(tmp_path / "run").step) == [0, 10, 20]
    assert "results in run" in out


def test_an_interrupt_that_python_drops_is_not_forgotten(tmp_path, capsys):
    """As one is that falls into the callback of a weak reference."""

    class Gone:
        pass

    def watched(pressed):
        for transition in transitions() * 2:
            yield transition
            gone = Gone()
            dropped = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
            del gone
            assert dropped() is None
            survived.append(pressed.is_set())
            if pressed.is_set():
                return

    survived, before = [], (signal.getsignal(signal.SIGINT), sys.unraisablehook)
    with remembered_interrupt() as pressed:
        follow(watched(pressed), None, tmp_path, tmp_path, pressed)
    assert survived == [True]
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    said = capsys.readouterr()
    assert said.out.count("transition:") == 1
    assert said.err == "stopped; what is finished is kept\n"


def test_its_options_go_with_watch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["slt", "track", "task.py", "series", "-o", str(tmp_path / "run"), "--stop-after", "3"]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "slt: --interval, --stop-after and --on-transition go with --watch\n"
