"""The page of a series: whole, offline, honest about what is missing, and with every link leading somewhere."""

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import slt
from slt.report.page import write_report
from slt.report.svg import Axis
from slt.series.folder import RunFolder
from slt.trajectory import Trajectory


class Page(HTMLParser):
    """What a page links to, loads, and calls its parts; and whether its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.open = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.loads += [given["src"]] if "src" in given else []
        if tag not in ("meta", "input", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def made_up(folder, count=40, **fields):
    steps = np.unique(np.geomspace(100, 100_000, count).round().astype(int))
    truth = np.where(steps < 3000, 10.0, 25.0)
    noise = 0.03 * np.random.default_rng(0).standard_normal(len(steps))
    loss = np.where(steps < 3000, 2.0, 0.5) + 1e-3 * noise
    trajectory = Trajectory(
        step=steps, llc=truth * (1 + noise), std_error=0.03 * truth, loss=loss, n=1000, beta=0.1, gamma=5.0, **fields
    )
    RunFolder(folder).write_results(trajectory)
    return trajectory


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run folder of `slt track`, with a checkpoint that cannot be read."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "series").mkdir()
    order = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=order)
    data = x, x.sum(1, keepdim=True)
    for step in (1, 10, 100, 1000, 3000, 5000):
        weights = {"weight": torch.full((1, 3), 1 - 0.1 / step), "bias": torch.zeros(1)}
        save_file(weights, folder / "series" / f"step_{step}.safetensors")
    (folder / "series" / "step_50.safetensors").write_bytes(b"<b>&")
    task = slt.Task(nn.Linear(3, 1), data, slt.gaussian_loss(0.04))
    slt.track(task, folder / "series", folder / "run", progress=False, chains=4, draws=20)
    return folder / "run"


def test_the_page_needs_nothing_else_and_every_link_leads_somewhere(tracked, tmp_path):
    path = write_report(tracked, tmp_path / "page.html")
    page = Page(path.read_text())
    assert page.loads == []
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.links) == {f"#step-{step}" for step in (1, 10, 50, 100, 1000, 3000, 5000)}
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//)|@import|url\(", path.read_text())


def test_each_checkpoint_has_its_panel_with_traces_and_reasons(tracked):
    text = write_report(tracked).read_text()
    assert (tracked / "report.html").is_file()
    panels = dict(re.findall(r'<details id="(step-\d+)" class="\w+">(.*?)</details>', text, re.DOTALL))
    assert len(panels) == 7
    assert all("of each chain" in panel for name, panel in panels.items() if name != "step-50")
    assert "step_50.safetensors" in panels["step-50"]
    assert re.search(r"[0-6] of 7 checkpoints have a number, all at n = 60", text)


def test_charts_are_well_formed_and_hold_the_curve(tmp_path):
    trajectory = made_up(tmp_path)
    text = write_report(tmp_path).read_text()
    charts = [
        ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", text.split("</section>")[0], re.DOTALL)
    ]
    assert len(charts) == 4  # λ̂ and loss, logarithmic and linear
    for chart in charts:
        curve = next(part for part in chart.iter("polyline") if part.get("class").startswith("curve"))
        points = np.array([[float(value) for value in pair.split(",")] for pair in curve.get("points").split()])
        assert len(points) == len(trajectory.step)
        assert (np.diff(points[:, 0]) >= 0).all()
        width, height = (int(value) for value in chart.get("viewBox").split()[2:])
        assert ((points > 0) & (points < [width, height])).all()
        assert any(part.get("class") == "move up" for part in chart.iter("rect"))
    upper = [float(pair.split(",")[1]) for pair in charts[0].find("polyline").get("points").split()]
    assert np.mean(upper[:5]) > np.mean(upper[-5:])  # up on the page is smaller
    assert "opposing staircases" in text


def test_an_unfinished_run_says_so(tracked, tmp_path):
    made_up(tmp_path, count=4)
    (tmp_path / "series.json").write_text((tracked / "series.json").read_text())
    text = write_report(tmp_path).read_text()
    assert "unfinished: 4 of 7 done" in text
    assert "None found." in text


def test_what_others_wrote_is_text_on_the_page_not_markup(tmp_path):
    made_up(tmp_path, 4, checkpoint=("<script>alert(1)</script>",) * 4, reasons=("<img src=x>",) * 4)
    text = write_report(tmp_path).read_text()
    assert "<script>alert" not in text
    assert "<img" not in text


def test_numbers_that_are_missing_do_not_stop_it(tmp_path):
    count = len(made_up(tmp_path).step)
    blank = np.full(count, np.nan)
    steps = np.arange(count)
    RunFolder(tmp_path).write_results(
        Trajectory(step=steps, llc=blank, std_error=blank, loss=blank, status=("skipped",) * count)
    )
    Page(write_report(tmp_path).read_text())


def test_no_results(tmp_path):
    with pytest.raises(slt.InputError, match="no such folder"):
        write_report(tmp_path / "none")
    with pytest.raises(slt.InputError, match="no such trajectory"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("values", "log"), [((0, 1), False), ((-3e-5, 2e-5), False), ((5, 5), False), ((1, 1e5), True), ((30, 80), True)]
)
def test_axes_have_a_few_round_ticks_in_their_range(values, log):
    axis = Axis.of(values, 0, 100, log=log, margin=0.05)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 14
    assert all(axis.low <= tick <= axis.high * 1.001 for tick in ticks)
    pixels = [axis.at(tick) for tick in ticks]
    assert pixels == sorted(pixels)
    assert not any(math.isnan(pixel) for pixel in pixels)


def test_phases_are_coloured_between_transitions(tmp_path):
    trajectory = made_up(tmp_path)
    text = write_report(tmp_path).read_text()
    panel = text[text.index("<h2>Phases</h2>") :]
    chart = ElementTree.fromstring(re.search(r"<svg .*?</svg>", panel, re.DOTALL).group())
    phases = [circle.get("class").split()[-1] for circle in chart.iter("circle")]
    assert phases == ["p0" if step < 3000 else "p1" for step in trajectory.step]


def test_free_energies_in_the_folder_are_shown(tracked, tmp_path):
    made_up(tmp_path)
    assert "Free energies" not in write_report(tmp_path).read_text()
    order = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=order)
    model = nn.Linear(3, 1)
    found = slt.free_energy(
        model, (x, x.sum(1, keepdim=True)), slt.gaussian_loss(1.0), checkpoint="step_100.pt", draws=20, progress=False
    )
    (tmp_path / "free_energies").mkdir()
    found.save(tmp_path / "free_energies" / "a.json")
    (tmp_path / "free_energies" / "b.json").write_text("{}")
    text = write_report(tmp_path).read_text()
    panel = text[text.index("<h2>Free energies</h2>") :]
    assert f"step 100: {found.total:.5g} ± {found.std_error:.2g} nats" in panel
    assert "b.json" in panel
