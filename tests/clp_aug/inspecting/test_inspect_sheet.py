"""The contact sheet: which rows, what is escaped, and the page in a real browser."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract import schema
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import data_uri
from clp_aug.contract.shards import ShardReader
from clp_aug.inspecting.sheet import choose, write_sheet

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


class Page(HTMLParser):
    """What the tests look at in a page: its rows, which elements are hidden, body's data, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.body, self.rows, self.figures, self.images, self.options, self.text = {}, [], [], [], [], ""
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "body":
            self.body = attributes
        elif tag == "tr" and "id" in attributes:
            self.rows.append(attributes)
        elif tag == "figure" and "data-fill" in attributes:
            self.figures.append(attributes)
        elif tag == "img":
            self.images.append(attributes)
        elif tag == "option":
            self.options.append(attributes["value"])

    def handle_data(self, data):
        self.text += data

    def shown(self) -> list[dict]:
        """Return the rows that are not hidden."""
        return [row for row in self.rows if "hidden" not in row]


@pytest.fixture(scope="session")
def sheet(demo_shard, tmp_path_factory):
    """The page of the built-in set's shard."""
    path = tmp_path_factory.mktemp("page") / "sheet.html"
    write_sheet(ShardReader(demo_shard), path)
    return path


def decoded(uri: str) -> np.ndarray:
    """Return the pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_each_original_is_a_row_with_its_pictures(demo_shard, sheet):
    reader, page = ShardReader(demo_shard), Page(sheet.read_text())
    tables = reader.tables
    originals = np.flatnonzero(tables["meta/kind"] == schema.ORIGINAL)
    assert len(page.rows) == len(originals) == 12
    uris = [decoded(image["src"]) for image in page.images]
    assert len(uris) == 12 * 5
    for k, i in enumerate(choose(reader, 200)):
        assert page.rows[k]["id"] == f"sample-{tables['meta/sample_id'][i]}"
        assert page.rows[k]["data-class"] == reader.header.class_names[tables["meta/label"][i]]
        original, matte, boxed, cf, f = uris[5 * k : 5 * k + 5]
        np.testing.assert_array_equal(original, reader.image(i))
        np.testing.assert_array_equal(boxed, reader.image(i))
        np.testing.assert_array_equal(matte, reader.matte(list(originals).index(i)))
        np.testing.assert_array_equal(cf, reader.image(i + 1))
        np.testing.assert_array_equal(f, reader.image(i + 2))


def test_captions_and_boxes(demo_shard, sheet):
    tables, html = ShardReader(demo_shard).tables, sheet.read_text()
    text = Page(html).text
    assert text.count("not ring") == text.count("not cross") == 6
    x0, y0, x1, y1 = tables["meta/box"][0]
    assert f"{x1 - x0} × {y1 - y0} at {x0}, {y0}" in text
    assert f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"/>' in html
    assert 'class="bad">fallback</span>, centre' in html
    for line in ("demo.h5", "12 originals", "12 counterfactuals", "ring on garden", "grey"):
        assert line in text


def test_the_page_asks_for_nothing_outside(sheet):
    html = sheet.read_text()
    assert "http:" not in html
    assert "https:" not in html
    assert not re.search(r"""(?:src|href)="(?!data:)|url\(|@import""", html)
    assert "default-src 'none'" in html


def test_same_page_twice_and_no_path_in_it(demo_shard, sheet, tmp_path):
    write_sheet(ShardReader(demo_shard), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == sheet.read_bytes()
    assert str(demo_shard.parent) not in sheet.read_text()


def test_names_are_escaped(bare_shard, tmp_path):
    reader = ShardReader(bare_shard)
    write_sheet(reader, tmp_path / "s.html")
    html = (tmp_path / "s.html").read_text()
    page, name = Page(html), reader.header.class_names[0]
    assert name.startswith("<script>")
    assert page.tags.count("script") == 1
    assert "<script>document" not in html
    assert page.rows[0]["data-class"] == name
    assert name in page.options
    assert name in page.text


def test_without_copies_and_mattes(bare_shard, tmp_path):
    write_sheet(ShardReader(bare_shard), tmp_path / "s.html")
    page = Page((tmp_path / "s.html").read_text())
    assert page.text.count("not stored") == 2
    assert [image["src"][:15] for image in page.images] == ["data:image/jpeg"] * 4


def test_a_damaged_picture_leaves_no_page(demo_shard, tmp_path):
    reader = ShardReader(demo_shard)
    path = tmp_path / "broken.h5"
    data = bytearray(demo_shard.read_bytes())
    at = data.index(reader.image(4).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.h5: /meta/images\[4\] is damaged"):
        write_sheet(ShardReader(path), tmp_path / "s.html")
    assert list(tmp_path.iterdir()) == [path]


def test_small_pictures_are_lossless_and_large_ones_close():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (64, 3, 3), np.uint8)
    np.testing.assert_array_equal(decoded(data_uri(small)), small)
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    large = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 255 - ramp), -1)
    assert np.abs(decoded(data_uri(large)).astype(int) - large).max() <= 12


class Fake:
    """Only the tables that `choose` looks at."""

    def __init__(self, label, group):
        n = len(label)
        self.tables = {
            "meta/kind": np.zeros(n, np.uint8),
            "meta/label": np.asarray(label),
            "meta/group": np.asarray(group),
            "meta/sample_id": np.arange(n),
        }


def test_choose_spreads_evenly():
    """Oracle: deal one card a stratum and round until the hand is full; counts may differ by one in the last round."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        n, rows = int(rng.integers(1, 60)), int(rng.integers(1, 70))
        reader = Fake(rng.integers(0, 4, n), rng.integers(-1, 3, n))
        strata = list(zip(reader.tables["meta/label"].tolist(), reader.tables["meta/group"].tolist(), strict=True))
        chosen = choose(reader, rows)
        assert len(set(chosen.tolist())) == len(chosen) == min(rows, n)
        assert [(*strata[i], i) for i in chosen] == sorted((*strata[i], i) for i in chosen)
        left = {s: strata.count(s) for s in strata}
        quota, level = 0, 0
        while quota + sum(c > level for c in left.values()) <= rows and level < n:
            quota += sum(c > level for c in left.values())
            level += 1
        for stratum, count in left.items():
            taken = sum(strata[i] == stratum for i in chosen)
            assert min(count, level) <= taken <= min(count, level + 1)


def test_choose_spreads_the_last_round_over_all_classes():
    chosen = choose(Fake(np.arange(1000), np.zeros(1000)), 10)
    np.testing.assert_array_equal(chosen, np.arange(10) * 100)


def test_choose_takes_originals_only(demo_shard):
    reader = ShardReader(demo_shard)
    for rows in (1, 4, 5, 12, 100):
        chosen = choose(reader, rows)
        assert (reader.tables["meta/kind"][chosen] == schema.ORIGINAL).all()
        assert len(chosen) == min(rows, 12)


@pytest.fixture
def browse(tmp_path):
    """Open a page with a hash in a headless Chromium; return what the DOM looks like once it has settled."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")

    def dump(path, fragment: str) -> Page:
        command = [CHROMIUM, *SWITCHES, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run(
            [*command, f"{path.as_uri()}#{fragment}"], capture_output=True, text=True, timeout=120, check=True
        )
        return Page(done.stdout)

    return dump


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", 12),
        ("fill=grey", 6),
        ("class=ring&fill=grey", 3),
        ("group=cross+on+garden", 3),
        ("outcome=fallback", 3),
        ("class=cross&group=ring+on+temple", 0),
        ("class=nosuch&size=64", 12),
    ],
)
def test_filters_in_a_browser(browse, sheet, demo_shard, fragment, expected):
    page = browse(sheet, fragment)
    assert page.body["data-broken"] == "0"
    assert page.body["data-shown"] == str(expected)
    assert len(page.shown()) == expected
    assert f"{expected} of 12 rows" in page.text
    wanted = dict(pair.split("=") for pair in fragment.replace("+", " ").split("&") if pair and "nosuch" not in pair)
    for name in ("class", "group", "outcome"):
        if name in wanted:
            assert {row[f"data-{name}"] for row in page.shown()} <= {wanted[name]}
    if wanted.get("fill"):
        visible = [figure["data-fill"] for figure in page.figures if "hidden" not in figure]
        assert set(visible) == {wanted["fill"]}
    else:
        assert not any("hidden" in figure for figure in page.figures)


ACT = """<script>
form.elements.class.value = "cross"; form.elements.fill.value = "tile"; form.elements.size.value = 64;
form.dispatchEvent(new Event("input", {bubbles: true}));
document.body.dataset.first = location.hash + " " + document.body.dataset.shown;
form.querySelector("button").click();
document.body.dataset.second = location.hash + " " + document.body.dataset.shown;
</script></body>"""


def test_the_hash_follows_the_controls(browse, sheet, tmp_path):
    path = tmp_path / "act.html"
    path.write_text(sheet.read_text().replace("</body>", ACT))
    body = browse(path, "group=cross+on+temple").body
    assert body["data-first"] == "#class=cross&group=cross+on+temple&fill=tile&size=64 1"
    assert body["data-second"] == " 12"


def test_hostile_names_in_a_browser(browse, bare_shard, tmp_path):
    path = tmp_path / "bare.html"
    write_sheet(ShardReader(bare_shard), path)
    page = browse(path, "class=%3Cscript%3E")
    assert (page.body["data-broken"], page.body["data-shown"]) == ("0", "2")
    assert page.tags.count("script") == 1
    assert page.text.lstrip().startswith("bare.h5")  # the title is still the shard's name


def test_what_a_killed_one_left_beside_the_page_is_removed(demo_shard, tmp_path):
    left = tmp_path / "sheet.html.tmp-0123456789abcdef"
    left.write_text("half")
    write_sheet(ShardReader(demo_shard), tmp_path / "sheet.html")
    assert [path.name for path in sorted(tmp_path.glob("*sheet*"))] == ["sheet.html"]
