"""Estimates in a process of their own, from snapshots of the model: training goes on meanwhile."""

import contextlib
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import nn

from samplers.engine import PerSampleLoss
from samplers.errors import InputError
from slt.series.deadline import OutOfTime, estimate_row

COMMON, WORDS = "common.pt", "words.txt"
POLL_SECONDS = 0.05
log = logging.getLogger("slt")


@dataclass(frozen=True)
class Finished:
    """What came of a snapshot: a row; or the problem for which there is none; or neither, where it was out of time."""

    step: int
    row: dict[str, Any] | None
    problem: str
    seconds: float


class Background:
    """A queue of snapshots, and the process that works through it in order.

    The process is a fresh interpreter, neither forked nor one that runs the caller's main module again. Snapshots wait
    on disk, in a folder that only this user can read. A process that dies costs the one estimate it was at: that is
    said in one line of the log `slt`, and another process takes the rest. It ends with the process that started it.
    """

    def __init__(self, data: Any, loss: PerSampleLoss | None):
        self._path = Path(tempfile.mkdtemp(prefix="slt-"))
        weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        self._waiting: deque[tuple[int, Path]] = deque()
        self._process: subprocess.Popen | None = None
        self._made = 0
        torch_state = {
            "threads": torch.get_num_threads(),
            "dtype": torch.get_default_dtype(),
            "precision": torch.get_float32_matmul_precision(),
        }
        _write(self._path / COMMON, (data, loss, torch_state), "the data or the loss")

    @property
    def waiting(self) -> int:
        """Snapshots whose estimates have not come in."""
        return len(self._waiting)

    def submit(self, step: int, model: nn.Module, settings: dict[str, Any], limit: float) -> None:
        """Take a snapshot of the model, now, to be estimated within `limit` seconds.

        Raises InputError for a model that cannot be pickled.
        """
        self._made += 1
        snapshot = self._path / f"{self._made}.pt"
        _write(snapshot, (step, model, settings, limit), "the model")
        self._waiting.append((step, snapshot))
        if self._process is None:
            self._start()
        else:
            self._send(snapshot)

    def finished(self, wait: bool = False) -> Iterator[Finished]:
        """What has come in since it was last asked for, in the order of the snapshots; with `wait`, all there is."""
        while self._waiting:
            step, snapshot = self._waiting[0]
            alive = self._process is not None and self._process.poll() is None  # asked first: then no result is missed
            result = snapshot.with_suffix(".json")
            if result.exists():
                self._waiting.popleft()
                found = json.loads(result.read_text())
                result.unlink()
                yield Finished(step, found["row"], found["problem"], found["seconds"])
            elif not alive:
                self._waiting.popleft()
                snapshot.unlink(missing_ok=True)
                problem = f"the background process ended abruptly{self._last_words()}"
                if self._waiting:
                    self._start()
                else:
                    self._process = None
                yield Finished(step, None, problem, 0.0)
            elif wait:
                time.sleep(POLL_SECONDS)
            else:
                return

    def _start(self) -> None:
        paths = [path or os.getcwd() for path in sys.path]
        with (self._path / WORDS).open("wb") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from slt.series.background import serve; serve()", str(self._path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=words,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C in the terminal is for the training to deal with
            )
        weakref.finalize(self, _end, self._process)
        for _, snapshot in self._waiting:
            self._send(snapshot)

    def _send(self, snapshot: Path) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone: `finished` finds out
            self._process.stdin.write(f"{snapshot.name}\n".encode())
            self._process.stdin.flush()

    def _last_words(self) -> str:
        lines = (self._path / WORDS).read_text(errors="replace").strip().splitlines()
        code = None if self._process is None else self._process.returncode
        how = f" (exit code {code})" if code is None or code >= 0 else f" (signal {-code})"
        return f"{how}: {lines[-1][:200]}" if lines else f"{how}, perhaps for want of memory"


def _write(path: Path, content: Any, what: str) -> None:
    try:
        torch.save(content, path, pickle_module=cloudpickle)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; background=True keeps its snapshots there") from error
    except Exception as error:  # whatever an object that does not want to be pickled raises
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"background=True sends {what} to another process, which fails: {said}") from error


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def serve() -> None:
    """In the background process: estimate the snapshots named on standard input, each into a JSON file beside it."""
    folder = Path(sys.argv[1])
    names: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            names.put(line.strip())
        shutil.rmtree(folder, ignore_errors=True)  # the process that started this one is gone, however that ended
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    data, loss, torch_state = torch.load(folder / COMMON, weights_only=False)
    torch.set_num_threads(torch_state["threads"])
    torch.set_default_dtype(torch_state["dtype"])
    torch.set_float32_matmul_precision(torch_state["precision"])
    # What torch loads at its first use is not for the first estimate to pay.
    estimate_row(0, nn.Linear(1, 2), (torch.ones(4, 1), torch.tensor([0, 0, 1, 1])), None, {"chains": 2, "draws": 4})
    scale: dict[str, float] = {}
    while True:
        snapshot = folder / names.get()
        started = time.perf_counter()
        found: dict[str, Any] = {"row": None, "problem": ""}
        try:
            step, model, settings, limit = torch.load(snapshot, weights_only=False)
            found["row"] = estimate_row(step, model, data, loss, {**settings, **scale}, limit)
            scale = {name: found["row"][name] for name in ("beta", "gamma")}
        except OutOfTime:
            pass
        except Exception as error:  # said where the training is
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            found["problem"] = kind + (str(error).strip() or "no message").splitlines()[0]
        found["seconds"] = time.perf_counter() - started
        partial = snapshot.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        snapshot.unlink()
        partial.replace(snapshot.with_suffix(".json"))
