"""The page in a real browser: its style is let in, nothing is refused, it fits narrow windows, and it can be read."""

from __future__ import annotations

import http.server
import re
import subprocess
from functools import partial
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from medkit.batch.ledger import State
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.page import PageQuery, render_page
from medkit.batch.status.server import StatusServer
from tests.batch.status.live import crowd, study
from tests.batch.status.test_summary import Usage, look

_WIDTHS = (320, 360, 768, 1200, 1280)
# Measures the page in windows of several widths, and the contrast of every text in it (WCAG 2.2, 1.4.3).
_HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = text => text.match(/[0-9.]+/g).map(Number);
// Tiles whose words run into their border.
function tight(page, view) {
  return [...page.querySelectorAll("nav > a")].filter(tile => {
    const words = page.createRange(), box = tile.getBoundingClientRect();
    words.selectNodeContents(tile);
    return words.getBoundingClientRect().right > box.right - parseFloat(view.getComputedStyle(tile).paddingRight);
  }).length;
}
function behind(element, view) {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(view.getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [NaN, NaN, NaN];
}
function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  let worst = 99, where = "", texts = 0;
  const walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.getClientRects().length) continue;
    texts += 1;
    const a = light(numbers(view.getComputedStyle(element).color)), b = light(behind(element, view));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (!(contrast >= worst)) { worst = contrast; where = walk.currentNode.data.trim(); }
  }
  return `${frame.width} ${root.scrollWidth} ${tight(page, view)} ${texts} ${worst.toFixed(2)} ${where}`;
}
addEventListener("load", () => {
  document.body.textContent = [...document.querySelectorAll("iframe")].map(f => "[" + measure(f) + "]").join("");
});
</script>FRAMES</body>"""


@pytest.fixture(scope="module")
def chromium(tool):
    path = tool("chromium")

    def call(*arguments):
        # No sandbox: containers, as CI's, let root have none. The pages are our own.
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        )
        done = subprocess.run(
            [path, *flags, "--virtual-time-budget=3000", "--enable-logging=stderr", *arguments],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, said

    return call


@pytest.fixture
def served(batch):
    with StatusServer(batch.job, clock=batch.clock, usage=lambda _: Usage(2 << 40, 0, 1 << 40)) as server:
        yield server


def colours(path):
    """The colour of the page's edge, and the share of pixels of each colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    shares = {tuple(map(int, one)): count / counts.sum() for one, count in zip(found, counts, strict=True)}
    return tuple(map(int, pixels[1, 1])), shares


def has_colour(page, name, *, dark):
    """The colour of the page's style by its name."""
    values = re.findall(rf"--{name}: #([0-9a-f]{{6}})", page)
    return tuple(bytes.fromhex(values[dark]))


def test_a_browser_takes_the_page_and_its_links(batch, served, chromium):
    batch.one_of_each()
    dom, said = chromium("--dump-dom", served.url)
    assert said == [], "nothing is refused by the page's own policy"
    assert "1 study in quarantine" in dom
    assert dom.count('<tr>\n<th scope="row"><code') == 13
    (link,) = re.findall(r'<a href="(/\?state=refused)"', dom)
    dom, said = chromium("--dump-dom", served.url.rstrip("/") + link)
    assert said == []
    assert study(State.REFUSED) in dom
    assert study(State.SKIPPED) not in dom


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_its_style_is_let_in_and_follows_the_system(batch, served, chromium, tmp_path, dark):
    batch.one_of_each()
    shot = tmp_path / "page.png"
    scheme = f"--blink-settings=preferredColorScheme={int(not dark)}"
    _, said = chromium(scheme, "--window-size=1000,800", f"--screenshot={shot}", served.url)
    assert said == []
    dom, _ = chromium("--dump-dom", served.url)
    edge, shares = colours(shot)
    assert edge == has_colour(dom, "back", dark=dark)
    alert = shares.get(has_colour(dom, "bad-back", dark=dark), 0)
    assert alert > 0.02, "the alert is a band across the page"


@pytest.mark.parametrize("number", [0, 5, 5000])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read(batch, chromium, tmp_path, number, dark):
    if number:
        batch.one_of_each()
        crowd(batch, number)
    summary = look(batch)
    told = alerts(summary, Thresholds(), kept_free_bytes=1 << 40)
    names = []
    for query in (PageQuery(refresh=False), PageQuery(State.QUARANTINED, 1, False)):
        name = f"{query.state or 'all'}.html"
        (tmp_path / name).write_text(
            render_page(batch.ledger, summary, told, query, "x" * 60), encoding="utf-8"
        )
        names.append(name)
    frames = [
        f'<iframe src="{name}" width="{width}" height="600"></iframe>' for name in names for width in _WIDTHS
    ]
    (tmp_path / "harness.html").write_text(_HARNESS.replace("FRAMES", "".join(frames)), encoding="utf-8")
    with _folder_served(tmp_path) as url:
        scheme = f"--blink-settings=preferredColorScheme={int(not dark)}"
        dom, said = chromium(scheme, "--dump-dom", f"{url}/harness.html")
    assert said == []
    measured = re.findall(r"\[(\d+) (\d+) (\d+) (\d+) ([\d.]+|NaN) (.*?)\]", dom, re.DOTALL)
    assert [int(width) for width, *_ in measured] == [*_WIDTHS, *_WIDTHS]
    for width, needed, tight, texts, contrast, where in measured:
        assert int(needed) <= int(width), "no scrolling to the side"
        assert int(tight) == 0, "no words run into the border of their tile"
        assert int(texts) > 15
        assert float(contrast) >= 4.5, f"{where!r} can hardly be read"


class _folder_served:
    """A folder over HTTP, for pages in frames of a page that looks into them."""

    def __init__(self, folder):
        handler = partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self):
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
