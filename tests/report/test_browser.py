"""The page in a real browser: nothing wider than a phone, readable in the dark, charts of the right width shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from recbayes.report import write

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH: the report is not looked at in a browser")

MEASURE = """
<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  const seen = e => e.getClientRects().length > 0;
  const page = document.documentElement, room = page.clientWidth;
  const scrolls = e => e.closest(".scroll, nav, pre");
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => {
    for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)/.test(c)) return c; }
    return "rgb(255, 255, 255)";
  };
  const contrast = e => { const s = getComputedStyle(e), [a, b] = [light(e.ownerSVGElement ? s.fill : s.color), light(ground(e))];
                          return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
  const texts = [...document.querySelectorAll("h1, h2, h3, p, th, td, li, span, text, summary, a, code, pre")].filter(seen);
  const wide = [...document.querySelectorAll("body *")].filter(e => seen(e) && !scrolls(e) && e.getBoundingClientRect().right > room + 1);
  const poor = texts.filter(e => e.textContent.trim() && !e.closest("desc, title") && contrast(e) < 4.5);
  const type = [...document.querySelectorAll("svg text")].filter(seen)
    .map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a);
  const out = {room, width: page.scrollWidth, wide: wide.map(e => e.outerHTML.slice(0, 120)),
               poor: poor.map(e => e.outerHTML.slice(0, 120)), dark: light(getComputedStyle(document.body).backgroundColor) < .05,
               charts: [...document.querySelectorAll("figure svg")].filter(seen).length, type: Math.min(...type), texts: texts.length};
  const told = parent === window ? document : parent.document;
  told.body.insertAdjacentHTML("beforeend", "<pre id=measured></pre>");
  told.getElementById("measured").textContent = JSON.stringify(out);
});</script>
"""


def measured(page: Path, tmp_path: Path, *, width: int, dark: bool = False) -> dict[str, Any]:
    """What a frame of this width makes of the page. A frame, because a window can't be as narrow as a phone."""
    inner = page.read_text(encoding="utf-8").replace("</body>", MEASURE + "</body>")
    framed = inner.replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe srcdoc="{framed}" style="border:0;width:{width}px;height:900px"></iframe>'
    outer = tmp_path / f"frame{width}{dark}.html"
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><body>{frame}</body>', encoding="utf-8"
    )
    command = [
        *(
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / f'profile{width}{dark}'}",
        ),
        *(
            "--window-size=1400,1000",
            "--virtual-time-budget=3000",
            "--dump-dom",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        ),
        outer.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False).stdout
    told = re.search(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL)
    assert told, "the browser did not measure the page"
    return dict(json.loads(unescape(told.group(1))))


@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (820, False), (1280, False), (1280, True)])
def test_the_page_fits_and_can_be_read(width: int, dark: bool, run_folder: Path, tmp_path: Path) -> None:
    """With all details open: no sideways scrolling, text at a contrast of 4.5 (WCAG AA), chart type of 10 px, each chart once."""
    found = measured(write(run_folder, out=tmp_path / "report.html"), tmp_path, width=width, dark=dark)
    assert found["room"] == width
    assert found["dark"] is dark
    assert found["wide"] == []
    assert found["width"] <= width
    assert found["poor"] == []
    assert found["charts"] == 18
    assert found["type"] >= 10
    assert found["texts"] > 300


def test_the_measure_sees_a_planted_fault(run_folder: Path, tmp_path: Path) -> None:
    """A box wider than a phone and pale text on white are found, so the test above can fail."""
    page = write(run_folder, out=tmp_path / "report.html")
    faults = '<div id="broad" style="width:600px">x</div><p id="pale" style="color:#bbb">pale</p></main>'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", faults), encoding="utf-8")
    found = measured(page, tmp_path, width=375)
    assert found["width"] > 375
    assert any("broad" in element for element in found["wide"])
    assert any("pale" in element for element in found["poor"])
