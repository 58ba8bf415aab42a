"""REPORT: the page of an audit in a browser: order, filters, links, light and dark, and no script but its own."""

import json
import re
import shutil
import subprocess
from functools import partial

import pytest

from tests.clp_train.report.audits import HOSTILE, Page, made, page_of, twice

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def written(tmp_path):
    """Write the page of one audit or two, return it read."""
    return partial(page_of, tmp_path)


@pytest.fixture(scope="module")
def one():
    return made()


@pytest.fixture(scope="module")
def two(one):
    return one, twice(one, 0.05)


@pytest.fixture
def browse(tmp_path):
    """Open a page with a hash in a headless Chromium; return what the DOM looks like once it has settled."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")

    def dump(html, fragment="", *switches):
        (tmp_path / "browsed.html").write_text(html, "utf-8")
        command = [CHROMIUM, *SWITCHES, f"--user-data-dir={tmp_path / 'profile'}", *switches, "--dump-dom"]
        address = f"{(tmp_path / 'browsed.html').as_uri()}#{fragment}"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120, check=True)
        return Page(done.stdout)

    return dump


PROBE = """<script>
const data = document.body.dataset, found = [];
const state = () => [location.hash, data.shown, [...document.querySelectorAll("article")].filter(a => !a.hidden)
  .map(a => a.dataset.place).join(",")].join("|");
const set = values => { for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  form.dispatchEvent(new Event("input", {bubbles: true})); found.push(state()); };
set({sort: "moved-1"}); set({sort: "unsure-0"}); set({sort: "sure-1"}); set({sort: "class-0"});
set({sort: "moved-0", class: "1"}); set({group: "3"}); set({class: "", group: "", changes: "only-0"});
set({changes: "both"}); set({changes: "none", size: 200});
form.querySelector("button").click(); found.push(state());
data.found = JSON.stringify(found);
addEventListener("load", () => {
  const light = c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
  data.page = light(getComputedStyle(document.body).backgroundColor);
  data.ink = light(getComputedStyle(document.body).color);
  data.wide = document.documentElement.scrollWidth - innerWidth;
  const bar = document.querySelector(".bar svg").getBoundingClientRect();
  const fill = document.querySelector(".fill0").getBoundingClientRect();
  data.bar = [(fill.x - bar.x) / bar.width, fill.width / bar.width].map(v => v.toFixed(3));
  const frame = document.querySelector(".frame").getBoundingClientRect();
  const box = document.querySelector(".frame rect").getBoundingClientRect();
  data.box = [(box.x - frame.x) / frame.width, box.width / frame.width].map(v => v.toFixed(2));
});
</script></body>"""


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1400), ("light", 500)])
def test_order_filters_and_looks_in_a_browser(browse, written, two, scheme, width):
    page = written(*two, side=32)
    html = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page.html).replace("</body>", PROBE)
    setting = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    body = browse(html, "", setting, f"--window-size={width},900").body
    strips = {int(strip["data-place"]): strip for strip in page.strips}

    def order(key, wanted=lambda strip: True):
        return sorted((p for p, strip in strips.items() if wanted(strip)), key=lambda p: (key(strips[p]), p))

    def by(name, sign):
        return lambda strip: sign * float(strip[name])

    wanted = [
        order(by("data-moved1", -1)),
        order(by("data-sure0", 1)),
        order(by("data-sure1", -1)),
        order(by("data-class", 1)),
        order(by("data-moved0", -1), lambda s: s["data-class"] == "1"),
        order(by("data-moved0", -1), lambda s: s["data-group"] == "3"),
        order(by("data-moved0", -1), lambda s: "only-0" in s["data-changes"]),
        order(by("data-moved0", -1), lambda s: "both" in s["data-changes"]),
        order(by("data-moved0", -1), lambda s: "none" in s["data-changes"]),
        list(range(40)),
    ]
    found = [state.split("|") for state in json.loads(body["data-found"])]
    assert [[int(p) for p in places.split(",") if p] for _, _, places in found] == wanted
    assert [int(shown) for _, shown, _ in found] == list(map(len, wanted))
    assert len({tuple(places) for places in wanted}) >= 8, "else the test says little"
    assert [found[i][0] for i in (0, 4, 8, 9)] == ["#sort=moved-1", "#class=1", "#changes=none&size=200", ""]
    assert body["data-broken"] == "0"
    assert (int(body["data-page"]) > int(body["data-ink"])) == (scheme == "light")
    assert abs(int(body["data-page"]) - int(body["data-ink"])) > 450  # of 765: black on white
    assert int(body["data-wide"]) <= 0
    right = two[0].figures.by_view["original"].value
    assert [float(v) for v in body["data-bar"].split(",")] == pytest.approx([0, right], abs=0.02)
    assert [float(v) for v in body["data-box"].split(",")] == pytest.approx([0.25, 0.5], abs=0.02)


def test_a_link_opens_the_page_as_it_was_left(browse, written):
    html = written(made(40, 20)).html
    page = browse(html, "sort=class-0&class=1&size=90")
    assert {strip["data-class"] for strip in page.strips if "hidden" not in strip} == {"1"}  # and not 10 to 19
    assert page.body["data-shown"] == str(len(page.places())) == "2"
    assert "hidden" not in page.form
    assert browse(html, "class=nosuch&sort=nosuch").places() == list(range(40))


def test_no_script_but_its_own_runs_in_a_browser(browse, written):
    names = (*HOSTILE[:3], "x")
    html = written(made(40, 4, names=names)).html
    page = browse(html.replace("</body>", f"{HOSTILE[0]}</body>"))  # as if the name had not been escaped
    assert "data-hacked" not in page.body
    assert (page.body["data-shown"], page.body["data-broken"]) == ("40", "0")


def test_without_script_the_page_is_whole_and_has_no_dead_controls(browse, written, one):
    page = browse(re.sub(r"script-src '[^']*'", "script-src 'none'", written(one).html))
    assert "hidden" in page.form
    assert "data-shown" not in page.body
    assert page.places() == list(range(40))
