"""Logits and classes by name: against a slow search over all pairs, with tables of the user's, and what is refused."""

import random

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_train.auditing.classes import OTHER, key, match_classes, parts


def called(*names):
    """Return names of logits, one each; synonyms stand in tuples."""
    return tuple((name,) if isinstance(name, str) else name for name in names)


def table(path, *rows):
    """Write a mapping; return its path."""
    path.write_text("model,shard\n" + "".join(f"{row}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("Golden_Retriever", "golden retriever"),
        ("golden-retriever", "GoldenRetriever"),
        ("Épagneul breton", "epagneul_breton"),
        ("tench, Tinca tinca", "Tinca tinca"),
        ("tench", "tench, Tinca tinca"),
        (("tench", "n01440764"), "n01440764"),
        (("tench", "n01440764"), "n01440764_tench"),
        ("Chihuahua", "n02085620-Chihuahua"),
        (("Chihuahua", "n02085620"), "n02085620-chien"),
        ("Straße", "STRASSE"),
        ("+", "+"),
        ("犬", "犬"),
    ],
)
def test_spellings_of_one_name(name, shard):
    found = match_classes(called(name, "something else"), ["no such thing", shard])
    assert found.index.tolist() == [1, OTHER]
    assert found.index.dtype == np.int64
    assert found.known.tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "shard"), [("cat", "cats"), ("tench Tinca", "tench, Tinca tinca"), ("+", "-"), ("n01440764", "n01440765")]
)
def test_other_names_are_other_classes(name, shard):
    with pytest.raises(InputError):
        match_classes(called(name, "x"), [shard, "y"])


def test_several_logits_stand_for_one_class():
    found = match_classes(called("crane", "heron", "Crane"), ["crane", "dog"])
    assert found.index.tolist() == [0, OTHER, 0]


def test_names_that_differ_by_case_alone_are_told_apart():
    found = match_classes(called("b", "B", "a"), ["B", "b", "c"])
    assert found.index.tolist() == [1, 0, OTHER]


def test_a_spelling_of_two_classes_is_of_neither():
    assert match_classes(called("bB", "x"), ["BB", "bb", "x"]).index.tolist() == [OTHER, 2]


def test_a_whole_name_counts_before_a_part():
    assert match_classes(called("jay"), ["blue, jay", "jay"]).index.tolist() == [1]


def test_nothing_is_matched_by_order():
    with pytest.raises(InputError):
        match_classes(called("0", "1"), ["landbird", "waterbird"])


def by_search(subject_names, shard_names):
    """Return what `match_classes` finds where each spelling is of one class: the slow, obvious search."""
    index = []
    for names in subject_names:
        spelt = {key(text) for name in names for text in (name, *parts(name))}
        hits = [c for c, name in enumerate(shard_names) if spelt & {key(text) for text in (name, *parts(name))}]
        index.append(hits[0] if hits else OTHER)
    return index


def test_the_index_is_that_of_a_search_over_all_pairs():
    draw = random.Random(0)
    words = [f"{a}{sign}{b}" for a in ("sea", "Land", "río") for b in ("Gull", "crow", "tern") for sign in " _-"]
    matched = 0
    for _ in range(200):
        shard = {key(word): word for word in draw.sample(words, 6)}  # one spelling of each
        free = draw.sample(words, 5)
        logits = called(*(one if draw.random() < 0.5 else f"{one}, alias {i}" for i, one in enumerate(free)))
        expected = by_search(logits, list(shard.values()))
        if any(c != OTHER for c in expected):
            matched += 1
            found = match_classes(logits, list(shard.values()))
            assert found.index.tolist() == expected
            assert found.known.tolist() == [c in expected for c in range(len(shard))]
    assert matched > 100


def test_a_table_counts_before_names(tmp_path):
    file = table(tmp_path / "m.csv", "2,ring", "b,", "A tall, cross".replace(", ", ","))
    found = match_classes(called("ring", "b", "c", "a tall", "cross"), ["ring", "cross", "b"], file)
    assert found.index.tolist() == [0, OTHER, 0, 1, 1]
    assert found.known.tolist() == [True, True, False]


def test_a_name_of_digits_is_a_name_before_it_is_an_index(tmp_path):
    found = match_classes(called("1", "0"), ["one", "zero"], table(tmp_path / "m.csv", "1,one", "0,zero"))
    assert found.index.tolist() == [0, 1]


def test_a_row_stands_for_all_logits_of_that_name(tmp_path):
    found = match_classes(called("crane", "crane", "x"), ["bird"], table(tmp_path / "m.csv", "crane,bird"))
    assert found.index.tolist() == [0, 0, OTHER]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["tensh,bird"], "m.csv line 2: the model has no class 'tensh'; did you mean tench? give a class name of the"
         " model, or an index below 2"),
        (["2,bird"], "m.csv line 2: the model has no class '2'; give a class name"),
        (["-1,bird"], "m.csv line 2: the model has no class '-1'; give a class name"),
        (["tench,birds"], "m.csv line 2: the shard has no class 'birds'; did you mean bird? it has bird, fish; leave"
         " the value empty for another class"),
        (["tench,fish", "0,bird"], "m.csv line 3: 'tench' has another class in line 2; keep one of the lines"),
        (["tench,"], "no class of the model (tench, robin) is in the shard (bird, fish); name them in"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, rows, message):
    with pytest.raises(InputError) as caught:
        match_classes(called("tench", "robin"), ["bird", "fish"], table(tmp_path / "m.csv", *rows))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_the_columns(tmp_path):
    (tmp_path / "m.csv").write_text("model,class\ntench,fish\n")
    with pytest.raises(InputError, match="no column shard in the header"):
        match_classes(called("tench", "robin"), ["bird", "fish"], tmp_path / "m.csv")


def test_no_class_in_common_is_one_line():
    with pytest.raises(InputError) as caught:
        match_classes(called("a", "b", "c", "d"), ["landbird", "waterbird"])
    assert str(caught.value) == (
        "no class of the model (a, b, c, ... of 4) is in the shard (landbird, waterbird); give --mapping FILE, a"
        " CSV with the columns model,shard, or the model's names with --classes FILE"
    )


def test_remarks_tell_what_is_not_matched_and_what_may_be_meant():
    found = match_classes(called("ring", "crosses", "z"), ["ring", "cross", "q"])
    assert found.remarks == (
        "2 of 3 classes are unknown to the model: cross, q (cross: did you mean crosses?; --mapping FILE says so)",
        "2 of the model's 3 classes are not in the shard; they count as another class",
    )
    assert match_classes(called("ring", "cross"), ["cross", "ring"]).remarks == ()
