"""The page of a series in a headless Chromium: no errors, curves there, a click on a point opens its checkpoint."""

import shutil

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import slt
from slt.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    y = x.sum(1, keepdim=True) + torch.randn(60, 1, generator=generator)
    model = nn.Linear(3, 1)
    best = torch.linalg.lstsq(torch.cat([x, torch.ones(60, 1)], 1), y).solution
    for step in (10, 100, 1000):
        weights = {"weight": best[:3].T.contiguous(), "bias": best[3] + 1e-3 * step / 1000}
        save_file(weights, folder / f"step_{step:06d}.safetensors")
    task = slt.Task(model, (x, y), slt.gaussian_loss(1.0))
    slt.track(task, folder, folder / "run", draws=30, chains=2, progress=False)
    return write_report(folder / "run", folder / "page.html").resolve().as_uri()


def test_the_page_opens_and_a_click_shows_a_checkpoint(address):
    said = []
    with sync_api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(address)
        assert page.locator("svg path, svg polyline").count() > 2
        panel = page.locator("#step-100")
        assert not panel.evaluate("part => part.open")
        page.locator('svg a[href="#step-100"]').first.click(force=True)
        page.wait_for_timeout(200)
        assert panel.evaluate("part => part.open")
        assert "llc" in panel.inner_text()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colors = page.evaluate(
                "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor] }"
            )
            assert colors[0] != colors[1]
        browser.close()
    assert said == []
