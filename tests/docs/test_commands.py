"""Every command that a page shows could run as it stands; those of README and the tutorials are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks, commands, documented
from tests.docs.parsing import Wrong, check
from tests.docs.run_commands import run_page
from tests.docs.setups import SETUPS
from tests.docs.shim import short

SHELL = ("", "sh", "bash", "shell", "console")
"""Languages of blocks in which commands are looked for; output is `text`."""
RUN_HERE = ("README.md",)
"""Pages whose commands the suite runs: what most readers begin with. `python -m tests.docs.run_commands` runs all."""


def shown(page: Path) -> list[tuple[Block, list[list[str]]]]:
    """Return the blocks of a page that show commands, each with these commands."""
    found = [(block, commands(block.code)) for block in blocks(page) if block.language in SHELL]
    return [(block, words) for block, words in found if words]


@pytest.mark.parametrize("page", documented(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page_can_run_or_are_marked(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page):
        for name in block.markers.get("file", []):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(block.code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    wrong = []
    for block, found in shown(page):
        if not block.is_shell:
            wrong.append(f"{block.place}: commands in a block that is not ```sh; see docs/site/README.md")
        for words in found:
            try:
                check(words, tmp_path, block.is_shell and not block.not_run)
            except Wrong as error:
                wrong.append(f"{block.place}: {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_examples_in_the_help_of_every_command_can_run(tmp_path: Path) -> None:
    examples = [
        words
        for page in (ROOT / "docs/reference/commands").glob("*.md")
        for block in blocks(page)
        for words in commands(block.code)
        if "[OPTIONS]" not in words
    ]
    assert len(examples) > 8
    for words in examples:
        check(words, tmp_path, False)


def test_setups_of_pages_are_known() -> None:
    named = {name for page in documented() for block in blocks(page) for name in block.markers.get("setup", [])}
    assert named <= set(SETUPS)
    text = (ROOT / "docs/site/README.md").read_text()
    assert all(f"| `{name}` |" in text for name in SETUPS)


@pytest.mark.parametrize("page", RUN_HERE)
def test_commands_of_a_page_run(page: str) -> None:
    done = run_page(ROOT / page, limit=60)
    assert not done.failure, done.failure


def test_what_belongs_to_a_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- setup: pictures -->\n\nText\n\n<!-- not run: slow -->\n```sh\nA=1 clp-train --meta x \\\n"
        "  --lr 1 # comment\nfor i in 1; do clp-inspect x | head; done > out 2>&1\n```\n\n"
        "    make demo\n\n- list\n\n    more\n"
    )
    first, second = blocks(page)
    assert first.markers == {"setup": ["pictures"], "not run": ["slow"]}
    assert (first.not_run, first.language, second.fenced, second.not_run) == ("slow", "sh", False, "")
    assert commands(first.code) == [["clp-train", "--meta", "x", "--lr", "1"], ["clp-inspect", "x"]]
    assert commands(second.code) == [["make", "demo"]]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("clp-train --meta x.h5 --method nonsense", "nonsense"),
        ("clp-train --meta x.h5 --epoch 3", "--epoch"),
        ("clp-train --meta x.h5 --set lr=-1", "lr"),
        ("clp-train --meta x.h5 --nonsense $x", "--nonsense"),
        ("clp-augment --dataset demo --cf nothing", "nothing"),
        ("clp-bench table99", "table99"),
        ("clp-data glt --nothing", "--nothing"),
        ("clp-audit data --dataset demo --nothing", "--nothing"),
        ("make nothing", "nothing"),
        ("pip install '.[nothing]'", "nothing"),
        ("python -m no.such.module", "no.such.module"),
        ("python no_such.py", "no_such.py"),
        ("torchrun --nproc-per-node 2 -m clp_train --meta x.h5 --nothing", "--nothing"),
    ],
)
def test_a_command_that_cannot_run_is_found(line: str, problem: str, tmp_path: Path) -> None:
    (words,) = commands(line)
    with pytest.raises(Wrong, match=problem):
        check(words, tmp_path, True)


@pytest.mark.parametrize(
    "line",
    [
        "clp-train --meta x.h5 --method clp --seed $seed",
        "clp-train --list-methods",
        "clp-audit data --dataset demo",
        "clp-bench table2 --dry-run",
        "make demo",
        "pip install 'causal-logit-perturbation[matting,onnx]'",
        "python -m clp_train --meta x.h5 --lr 0.1",
    ],
)
def test_a_command_that_can_run_is_taken(line: str, tmp_path: Path) -> None:
    (words,) = commands(line)
    check(words, tmp_path, True)


def test_a_run_is_made_short_and_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLP_DOCS_LOG", str(tmp_path / "log.jsonl"))
    run = ["--meta", "shards/x.h5", "--method", "erm", "--preset", "none"]
    few = ["--limit", "300"]
    assert short("clp-train", run) == [*run, "--out", "runs/x-erm-seed0", *few, "--epochs", "1"]
    longer = [*run, "--out", "runs/a", "--epochs", "30"]
    assert short("clp-train", longer) == [*longer, *few, "--epochs", "1"]
    assert short("clp-train", [*longer, "--resume"]) == [*longer, "--resume", *few, "--epochs", "1"]
    more = [*longer[:-1], "60", "--limit", "50", "--resume"]
    assert short("clp-train", more) == [*more, "--epochs", "2"]
    assert short("python", ["-m", "clp_train", *run])[-2:] == ["--epochs", "1"]
    assert short("clp-train", ["--list-methods"]) == ["--list-methods"]
    assert short("clp-fit", ["matte", "--out", "x"]) == ["matte", "--out", "x", "--steps", "2"]
