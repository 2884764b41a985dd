"""The page in a real browser without a network: sorting, filtering, and the width of a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from simclr_med.report.collect import collect_runs
from simclr_med.report.write import write_report

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not BROWSER, reason="needs Chromium")]

PROBE = """
<script>{
const requests = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
const table = document.querySelector("#comparisons table"), head = name =>
  [...table.tHead.rows[0].cells].find(cell => cell.textContent === name);
const column = name => [...table.tBodies[0].rows].map(row => row.cells[head(name).cellIndex].textContent);
head("AUROC points").firstElementChild.click();
const up = column("AUROC points");
const sorted = head("AUROC points").getAttribute("aria-sort");
head("AUROC points").firstElementChild.click();
const down = column("AUROC points");
head("labels").firstElementChild.click();
const labels = [...new Set(column("labels"))];
const budgets = ["full", "pct10", "n100", "n50", "per_class10", "pct1"].sort(compareCells);
const box = document.getElementById("filter");
box.value = "skin baseline"; box.dispatchEvent(new Event("input"));
const kept = [...document.querySelectorAll("tbody tr:not([hidden])")].map(row => row.textContent);
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
dispatchEvent(new Event("resize"));
const hints = [...document.querySelectorAll(".scroll, .picture")].every(part =>
  part.classList.contains("wide") === part.scrollWidth > part.clientWidth + 1);
const hinted = document.querySelectorAll(".picture.wide").length;
const found = {labels, budgets, requests, up, down, sorted, kept, wide, hints, hinted, width: innerWidth};
parent.postMessage(JSON.stringify(found), "*");
}</script>
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_sorting_filtering_and_width(study: Path, tmp_path: Path, width: int) -> None:
    target, _ = write_report(collect_runs(study), tmp_path)
    probed = tmp_path / "probed.html"
    probed.write_text(target.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    # A window has a minimum width, so a frame of the phone's width holds the page.
    framed = tmp_path / "framed.html"
    listen = "addEventListener('message', event => { document.body.dataset.found = event.data; });"
    framed.write_text(
        f"<body><script>{listen}</script>"
        f"<iframe src='probed.html' style='border: 0; width: {width}px; height: 800px'></iframe>",
        encoding="utf-8",
    )
    words = [
        "--virtual-time-budget=5000",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1400,900",
        f"--user-data-dir={tmp_path}/u",
    ]
    done = subprocess.run(
        [BROWSER, *words, "--dump-dom", framed.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    (text,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    found = json.loads(text.replace("&quot;", '"').replace("&amp;", "&"))
    numbers = [float(cell) for cell in found["up"]]
    assert numbers == sorted(numbers)
    assert len(numbers) > 20
    assert [float(cell) for cell in found["down"]] == numbers[::-1]
    assert found["sorted"] == "ascending"
    assert found["labels"] == ["per_class10", "n50", "n100"]
    assert found["budgets"] == ["per_class10", "n50", "n100", "pct1", "pct10", "full"]
    assert found["requests"] == 0
    assert found["kept"]
    assert all("skin" in row and "baseline" in row for row in found["kept"])
    assert found["wide"] <= 0
    assert found["width"] == width
    assert found["hints"]  # exactly the parts that are wider than the page have a hint
    assert (found["hinted"] > 0) == (width == 390)
