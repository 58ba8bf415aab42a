"""What makes a run new: the code that it reaches and its preset, not the other methods, not a comment."""

import pytest

from clp_train.bench import versions
from clp_train.bench.versions import (
    REGISTRY,
    ROOM,
    all_code,
    all_imports,
    bare,
    code_of_run,
    imports_of,
    reached,
    run_version,
    shard_version,
)
from clp_train.methods import METHODS

CLP, ERM = METHODS["clp"].module, METHODS["erm"].module


@pytest.fixture
def changed(monkeypatch):
    """Return what gives the digests of clp and erm after a line was added to some module."""

    def change(module):
        code = {name: text + ("\nX = 1" if name == module else "") for name, text in all_code().items()}
        assert code != all_code()
        with monkeypatch.context() as patch:
            patch.setattr(versions, "all_code", lambda: code)
            forget()
            digests = code_of_run(CLP), code_of_run(ERM)
        forget()
        return digests

    return change


def forget():
    code_of_run.cache_clear()
    all_imports.cache_clear()


@pytest.mark.parametrize(
    ("module", "new_for_clp", "new_for_erm"),
    [
        ("clp_train.loop", True, True),
        ("clp_train.models.resnet_cifar", True, True),  # loaded by name alone
        ("clp_train.transforms.joint", True, True),
        ("clp_train.transforms.rand_augment", False, False),  # by one method alone
        ("clp_train.methods", True, True),
        ("clp_train.methods.base", True, True),
        ("clp_aug.contract.schema", True, True),
        ("clp_train.perturbation", True, False),  # by one method alone
        (ROOM + CLP, True, False),
        (ROOM + ERM, False, True),
        (ROOM + METHODS["mwn"].module, False, False),
    ],
)
def test_a_change_makes_new_what_reaches_it(changed, module, new_for_clp, new_for_erm):
    clp, erm = changed(module)
    assert (clp != code_of_run(CLP), erm != code_of_run(ERM)) == (new_for_clp, new_for_erm)


@pytest.mark.parametrize(
    ("before", "after", "new_for_clp", "new_for_erm"),
    [
        ("'mwn': Entry('mwn',", "'mine': Entry('mine', 'ours', 'logits'), 'mwn': Entry('mwn2',", False, False),
        ("'plain cross entropy', 'reference'", "'plain cross entropy', 'base'", False, True),
        ("'meta-lp': Entry('clp', '", "'meta-lp': Entry('clp', 'our ", True, False),
        ("def module_of(", "def module_of2(", True, True),
    ],
)
def test_of_the_registry_the_lines_of_the_method_count(monkeypatch, before, after, new_for_clp, new_for_erm):
    plain = code_of_run(CLP), code_of_run(ERM)
    text = all_code()[REGISTRY]
    assert text.count(before) == 1
    code = all_code() | {REGISTRY: text.replace(before, after)}
    with monkeypatch.context() as patch:
        patch.setattr(versions, "all_code", lambda: code)
        forget()
        found = code_of_run(CLP), code_of_run(ERM)
    forget()
    assert (found[0] != plain[0], found[1] != plain[1]) == (new_for_clp, new_for_erm)


def test_every_method_has_its_own_module_in_its_digest_and_all_can_be_read():
    for entry in METHODS.values():
        assert ROOM + entry.module in all_code()
        assert len(code_of_run(entry.module)) == 12


def test_rooms_that_are_apart_do_not_count():
    assert not [name for name in all_code() if name.split(".")[1:2] and name.split(".")[1] in versions.APART]
    assert {"clp_train.loop", "clp_aug.pipeline"} <= all_code().keys()


def test_comments_docstrings_and_layout_do_not_count():
    bald = "def f(x):\n    return [x, 1]\n\nclass A:\n    y = 2\n\nclass B:\n    pass"
    dressed = """'M.'

# why
def f(x):
    'F.'
    return [  # here
        x, 1]
class A:
    'A.'
    y = 2
class B:
    'B.'
"""
    assert bare(dressed) == bare(bald)
    assert bare("x = 1") != bare("x = 2")


def test_imports_are_found_at_any_depth_and_in_texts():
    source = "import a.b\ndef f():\n    from c import d\n    return 'e.g', 'not there'\nfrom . import x"
    assert imports_of(source, {"a.b", "c", "c.d", "e.g", "x"}) == {"a.b", "c", "c.d", "e.g"}


def test_reached_follows_circles():
    assert reached({"a"}, {"a": {"b"}, "b": {"c", "a"}, "c": set(), "d": {"a"}}) == {"a", "b", "c"}


def test_a_preset_counts_with_what_it_says_of_the_method(tmp_path):
    path = tmp_path / "own.toml"

    def version(text, method="mwn"):
        path.write_text(text)
        return run_version(method, ["--preset", str(path), "--seed", "1"])

    first = version("[settings]\nepochs = 2")
    assert version("# a comment\n[settings]\nepochs = 2") == first
    assert version("[settings]\nepochs = 3") != first
    assert version("[settings]\nepochs = 2\n[methods.mwn]\nnormaliser = 'n'") != first
    assert version("[settings]\nepochs = 2\n[methods.erm]\nepochs = 3") == first
    assert run_version("mwn", ["--seed", "1"]) not in (first, run_version("erm", ["--seed", "1"]))
    assert shard_version() == shard_version()


def test_texts_that_stand_for_themselves_do_not_count():
    said = 'X = 1\n"""What X is."""\n\n\nclass A:\n    y = 2\n    """What y is."""\n'
    assert bare(said) == bare("X = 1\n\nclass A:\n    y = 2\n")
    assert bare('X = """a text"""') != bare('X = """another"""')
