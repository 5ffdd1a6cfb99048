"""How benchmarks score: a peer's time over its seeds, and jumps claimed by transitions."""

import pytest

from benchmarks.superposition_training import matched, scores
from benchmarks.time_to_accuracy import peer_time


def peer_run(seconds, settled, step_size=1e-3, seed=0):
    return {"step_size": step_size, "seed": seed, "settled_seconds": settled, "sampling_seconds": seconds}


def test_the_peers_time_is_the_median_over_seeds_of_its_authors_settings():
    runs = [peer_run(80.0, settled, seed=seed) for seed, settled in enumerate((10.0, None, 50.0))]
    row = {"problem": "reduced-rank regression", "devinterp": [*runs, peer_run(80.0, 1.0, step_size=1e-2)]}
    assert peer_time(row) == (50.0, 3, 2)


def test_of_a_sweep_the_best_step_that_gets_there_counts():
    never, slow = peer_run(5.0, None, 1e-5), peer_run(30.0, 20.0, 1e-4)
    row = {"problem": "digits MLP", "devinterp": [never, slow, peer_run(30.0, 11.0, 3e-4)]}
    assert peer_time(row) == (11.0, 1, 1)
    assert peer_time({**row, "devinterp": [never]}) == (5.0, 1, 0)


def test_each_jump_and_each_transition_counts_once():
    steps = [10, 20, 40, 80, 160, 320, 640]
    jumps = [{"start": 38, "middle": 40, "end": 45}, {"start": 300, "middle": 320, "end": 330}]
    assert sorted(matched([40, 44, 600], jumps, steps)) == [(0, 0), (2, 1)]
    assert matched([10], jumps[1:], steps) == []
    assert scores(2, 3, 2) | {"f1": None} == {
        "jumps": 2, "detected": 3, "matched": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": None,
    }  # fmt: skip
    assert scores(2, 3, 2)["f1"] == pytest.approx(0.8)
    assert scores(0, 0, 0)["f1"] is None
