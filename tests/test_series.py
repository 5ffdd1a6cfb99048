"""Which entries of a folder are checkpoints of a series, and in which order."""

import pytest
import torch
from safetensors.torch import save_file

import slt
from slt.series.find import find_series


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(series):
    return [(one.step, one.path.name) for one in series.candidates]


def test_every_kind_of_name_in_the_order_of_its_step(tmp_path):
    touch(
        tmp_path, "step_000100.safetensors", "model_20.pt", "epoch=3-step=1200.ckpt", "checkpoint-500/model.safetensors"
    )
    touch(tmp_path, "iter_7.pth", "checkpoint-900/pytorch_model.bin.index.json", "notes.txt", ".step_1.pt", "logs/x.pt")
    found = find_series(tmp_path)
    assert names(found) == [
        (7, "iter_7.pth"),
        (20, "model_20.pt"),
        (100, "step_000100.safetensors"),
        (500, "checkpoint-500"),
        (900, "checkpoint-900"),
        (1200, "epoch=3-step=1200.ckpt"),
    ]
    assert found.notes == ()


def test_steps_are_ordered_as_numbers_and_epochs_count_where_nothing_else_does(tmp_path):
    touch(tmp_path, "epoch_10.pt", "epoch_9.pt", "epoch_100.pt")
    assert [one.step for one in find_series(tmp_path).candidates] == [9, 10, 100]


def test_what_has_no_step_is_passed_over_and_said(tmp_path):
    touch(tmp_path, "step_1.pt", "last.ckpt", "optimizer.pt")
    found = find_series(tmp_path)
    assert names(found) == [(1, "step_1.pt")]
    assert found.notes == ("passed over, for there is no step in the name: last.ckpt, optimizer.pt",)


def test_both_of_a_step_are_kept_in_view(tmp_path):
    touch(tmp_path, "step_5.pt", "step_05.safetensors")
    assert names(find_series(tmp_path)) == [(5, "step_05.safetensors"), (5, "step_5.pt")]


def test_an_empty_folder_named_like_a_checkpoint_is_a_candidate(tmp_path):
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "version_0").mkdir()
    assert names(find_series(tmp_path)) == [(500, "checkpoint-500")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "holds no checkpoints; name them by step"),
        (["last.ckpt"], "holds only files without a step in their names"),
        (["checkpoints/step_1.pt"], "did you mean .*checkpoints"),
        (["model.safetensors"], "is one checkpoint, not a series"),
    ],
)
def test_folders_without_a_series(tmp_path, content, said):
    touch(tmp_path, *content)
    with pytest.raises(slt.InputError, match=said) as caught:
        find_series(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(slt.InputError, match="no such folder"):
        find_series(tmp_path / "none")
    save_file({"w": torch.zeros(1)}, tmp_path / "step_1.safetensors")
    with pytest.raises(slt.InputError, match="is a file"):
        find_series(tmp_path / "step_1.safetensors")
