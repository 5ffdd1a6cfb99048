"""Extras that are not installed: one line that says which."""

import subprocess
import sys

import pytest

import slt
import slt.integrations


@pytest.mark.parametrize(
    ("name", "library", "module", "extra"),
    [
        ("LightningTracker", "lightning.pytorch", "slt.integrations.lightning", "lightning"),
        ("HuggingFaceTracker", "transformers", "slt.integrations.huggingface", "huggingface"),
        ("cluster", "distributed", "slt.integrations.dask", "dask"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, library, module, extra):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(slt.InputError, match=rf"pip install 'slt-toolkit\[{extra}\]'$") as caught:
        getattr(slt.integrations, name)
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_before_it_is_used():
    assert slt.integrations.__all__ == dir(slt.integrations)
    with pytest.raises(AttributeError, match="has no attribute 'KerasTracker'"):
        slt.integrations.KerasTracker  # noqa: B018
    code = "import slt.integrations, sys; assert not {'lightning', 'transformers', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
