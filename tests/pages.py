"""The built site as a reader meets it: links, pictures, widths, themes, the menu and the search.

A step of its own, ``REVNORM_SITE=docs/_build/html pytest tests/pages.py``: the rest of the tests do
not collect it. What needs a browser is skipped where there is no Chromium.
"""

import os
import shutil
import threading
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

if "REVNORM_SITE" not in os.environ:
    pytest.skip("REVNORM_SITE does not name a built site", allow_module_level=True)

SITE = Path(os.environ["REVNORM_SITE"]).resolve()
# asv's pages are its own, and empty without the network.
PAGES = [
    str(path.relative_to(SITE).as_posix())
    for path in sorted(SITE.rglob("*.html"))
    if path.relative_to(SITE).parts[0] not in ("_asv", "_static")
]
CHROMIUM = (
    "chromium",
    "chromium-browser",
    "chromium-headless-shell",
    "google-chrome",
    "google-chrome-stable",
)
WIDTHS = {"desktop": 1280, "phone": 390}
THEMES = ("light", "dark")


class Content(HTMLParser):
    """What a page has: anchors, links, and pictures as their attributes."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.pictures = {"", "top"}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.pictures.append(found)


@cache
def content(path):
    return Content(path.read_text(encoding="utf-8"))


def missing(page, link):
    """What a link of a page within the site leads to in vain, or None."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (SITE / page).parent / unquote(parts.path) if parts.path else SITE / page
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return f"{link}: no such page"
    if target.suffix == ".html" and target.parent.name != "_asv":
        anchor = unquote(parts.fragment)
        return None if anchor in content(target).anchors else f"{link}: no such anchor"
    return None


def test_there_are_pages():
    assert "index.html" in PAGES
    assert len(PAGES) > 50


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    found = {missing(page, link) for link in content(SITE / page).links}
    assert not found - {None}


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_alternative_text(page):
    pictures = content(SITE / page).pictures
    assert not [one["src"] for one in pictures if not one.get("alt")]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api").sync_playwright()
    with driver as playwright:
        path = next(filter(None, map(shutil.which, CHROMIUM)), playwright.chromium.executable_path)
        if not Path(path).is_file():
            pytest.skip("there is no Chromium on this machine")
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


class Reader:
    """A tab, and what went wrong in it."""

    def __init__(self, tab, address):
        self.tab, self.address, self.complaints = tab, address, []
        complain = self.complaints.append
        tab.on("console", lambda one: one.type == "error" and complain(one.text))
        tab.on("pageerror", lambda error: complain(str(error)))
        tab.on("requestfailed", lambda one: complain(f"{one.url}: {one.failure}"))

    def opens(self, page):
        # What the last page was still loading is given up.
        self.tab.goto("about:blank")
        del self.complaints[:]
        self.tab.goto(f"{self.address}/{page}")

    def looks(self, width, theme):
        self.tab.set_viewport_size({"width": WIDTHS[width], "height": 800})
        self.tab.emulate_media(color_scheme=theme)


@pytest.fixture(scope="module")
def tab(browser, address):
    return Reader(browser.new_page(), address)


@pytest.fixture
def reader(tab):
    tab.looks("desktop", "light")
    return tab


BROKEN = "[...document.images].filter(one => !one.naturalWidth).map(one => one.src)"

# What lies beyond the right edge, but for what can be scrolled to within the page.
BEYOND = """() => {
    const width = document.documentElement.clientWidth
    const scrolled = one => {
        for (one = one.parentElement; one.closest("article") !== one; one = one.parentElement)
            if (getComputedStyle(one).overflowX !== "visible") return true
        return false
    }
    const beyond = [...document.querySelectorAll("article *")].filter(
        one => one.getBoundingClientRect().right > width + 1 && !scrolled(one)
    )
    const named = beyond.map(one => `${one.tagName} ${one.className}`)
    return document.documentElement.scrollWidth > width ? ["the page", ...named] : named
}"""

# Text with less contrast to what is behind it than a ratio, as WCAG 2 defines both.
FAINT = """least => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number)
    const luminance = colour => {
        const [r, g, b] = numbers(colour).map(one => one / 255).map(
            one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4
        )
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const behind = one => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor
            if ((numbers(colour)[3] ?? 1) === 1) return colour
        }
        return "rgb(255, 255, 255)"
    }
    const faint = new Set()
    for (const one of document.querySelectorAll("article *")) {
        const text = [...one.childNodes].filter(node => node.nodeType === 3 && node.data.trim())
        if (!text.length || !one.getClientRects().length) continue
        const style = getComputedStyle(one)
        const [low, high] = [luminance(style.color), luminance(behind(one))].sort((a, b) => a - b)
        const ratio = (high + 0.05) / (low + 0.05)
        if (ratio < least) faint.add(`${one.className || one.tagName} ${ratio.toFixed(2)}: ` +
            text[0].data.trim().slice(0, 40))
    }
    return [...faint]
}"""


@pytest.mark.parametrize("page", PAGES)
def test_page_in_a_browser(reader, page):
    reader.opens(page)
    assert not reader.complaints
    assert not reader.tab.evaluate(BROKEN)
    for width in WIDTHS:
        for theme in THEMES:
            reader.looks(width, theme)
            assert not reader.tab.evaluate(BEYOND), (width, theme)
            # https://www.w3.org/TR/WCAG22/#contrast-minimum, of large text and of parts of a page.
            assert not reader.tab.evaluate(FAINT, 3.0), (width, theme)


@pytest.mark.parametrize(("words", "page"), [("adain", "adain"), ("round trip", "numbers")])
def test_search_finds(reader, words, page):
    reader.opens("index.html")
    box = reader.tab.locator(".sidebar-search")
    box.fill(words)
    box.press("Enter")
    results = reader.tab.locator("#search-results li a")
    results.first.wait_for(timeout=10_000)
    assert any(page in link for link in results.evaluate_all("all => all.map(one => one.href)"))
    assert not reader.complaints


def test_menu_opens_on_a_phone(reader):
    reader.looks("phone", "light")
    reader.opens("index.html")
    link = reader.tab.locator(".sidebar-tree a[href^='speed/']").first
    assert link.bounding_box()["x"] < 0
    reader.tab.locator("header label[for=__navigation]").click()
    reader.tab.wait_for_function(
        "document.querySelector('.sidebar-drawer').getBoundingClientRect().left >= 0"
    )
    link.click()
    reader.tab.wait_for_url("**/speed/**")


def test_theme_is_chosen(reader):
    reader.opens("index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = set()
    for _ in range(3):
        reader.tab.locator(".theme-toggle:visible").first.click()
        seen.add(reader.tab.evaluate(background))
    assert len(seen) == 2
