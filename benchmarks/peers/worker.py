"""One peer on one workload: for every line on standard input a measurement, printed as one JSON object.

Run by benchmarks/throughput.py with the Python of `make peers`. Every peer is driven through its public API; the
clock is read in a function that the API calls once per step (the loss, or the one that unpacks a batch), so that
start-up, compilation and the loss at w* are left out of the rate, and counted in `seconds`.
"""

import itertools
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from workloads import GAMMA, N_BETA, SKIPPED, STEP_SIZE, WORKLOADS, Workload, next_token_loss


def rate(ticks: list[float], each: float) -> float:
    """Chain-steps per second over the ticks after the first few, `each` chain-steps per tick."""
    kept = ticks[int(SKIPPED * len(ticks)) :]
    return each * (len(kept) - 1) / (kept[-1] - kept[0])


def devinterp(workload: Workload, compiled: bool) -> float:
    """devinterp 2.0.1, chains one after the other.

    It samples language models; an MLP goes in as one whose token is the number of the sample.
    """
    from devinterp.slt.sampling import sample

    model, inputs, targets = workload.build()
    ticks: list[float] = []

    def loss(module: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        ticks.append(time.perf_counter())
        if not workload.inputs:
            return next_token_loss(module(ids), ids)
        index = ids[:, 0]
        return torch.nn.functional.cross_entropy(module(inputs[index]), targets[index], reduction="none")[:, None]

    if workload.inputs:
        numbers = torch.arange(len(inputs))
        tokens = torch.stack([numbers, numbers], 1)
    else:
        tokens = inputs
    dataset = [{"input_ids": row} for row in tokens]
    chains = 2
    with tempfile.TemporaryDirectory() as folder:
        sample(
            model, dataset, {}, lr=STEP_SIZE, n_beta=N_BETA, localization=GAMMA, num_chains=chains,
            num_draws=workload.steps, batch_size=workload.batch, num_init_loss_batches=1, device="cpu",
            output_path=Path(folder) / "samples.zarr", loss_fn=loss,
        )  # fmt: skip
    return rate(ticks[chains : chains + workload.steps], 1)


def canonical(workload: Workload, compiled: bool) -> float:
    """canonical-interp 0.1.5, all chains under vmap."""
    itertools.batched = getattr(itertools, "batched", None)  # imported by name from Python 3.12, used by no run here
    from canonical_interp import LLCEstimator

    model, inputs, targets = workload.build()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, targets), batch_size=workload.batch, shuffle=True, drop_last=True
    )
    ticks: list[float] = []

    def unpack(batch: list) -> tuple:
        ticks.append(time.perf_counter())
        return batch[0], batch[1]

    def criterion(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if workload.inputs:
            return torch.nn.functional.cross_entropy(logits, target)
        return next_token_loss(logits, target).mean()

    estimator = LLCEstimator(
        draws=workload.steps, chains=workload.chains, burnin_steps=0, steps_bw_draws=1, learning_rate=STEP_SIZE,
        localization=GAMMA, nbeta=N_BETA,
    )  # fmt: skip
    estimator.estimate_llc(model, loader, criterion, seed=0, compile=compiled, unpack_fn=unpack, show_progress=False)
    return rate(ticks[-workload.steps :], workload.chains)


def main() -> None:
    party, name = sys.argv[1:]
    workload = WORKLOADS[name]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for _ in sys.stdin:
        started = time.perf_counter()
        found = devinterp(workload, False) if party == "devinterp" else canonical(workload, party.endswith("compiled"))
        print(json.dumps({"rate": found, "seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
