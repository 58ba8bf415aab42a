"""The model card: every figure is the result's, every setting one that is not the default, terms as the shard says."""

from dataclasses import replace

import pytest

from clp_train.predicting.card import CARD, write_card
from clp_train.predicting.description import describe
from tests.clp_train.builders import config_of
from tests.clp_train.predicting.recorded import as_stored


def card_of(loaded, folder, config, header=None, **change):
    """Return the text of a card."""
    result = as_stored(config, loaded) | change
    write_card(folder, describe(result, loaded), result, header or loaded.header)
    return (folder / CARD).read_text()


def test_it_says_what_was_trained_and_what_it_reaches(loaded, tmp_path):
    text = card_of(loaded, tmp_path, config_of("clp", lr=0.2, epochs=3))
    for line in (
        "# clp on demo",
        "A classifier of pictures into 2 classes: resnet8, trained with clp, seed 0. Its weights are"
        " `last.safetensors`, of epoch 1. It takes RGB pictures of 16 x 16 pixels, made square by crop.",
        "| ring on temple | 20 |",
        "| test | 50.0 % | 25.0 % | 50.0 % | 4 |",
        "| cross on garden | 50.0 % of 1 |",
        "Nothing was selected: it is the last epoch.",
        "- `--lr 0.2`",
        "- `--epochs 3`",
        "- Pictures: those of data set demo itself, which are not recorded.",
    ):
        assert line in text.splitlines(), line
    assert "--weight-decay" not in text
    assert "x.h5" not in text, "no path of the machine"


def test_defaults_are_said_to_be_such(loaded, tmp_path):
    assert "The defaults of `clp-train --method erm`." in card_of(loaded, tmp_path, config_of("erm"))


def test_terms_are_those_of_the_shard(loaded, tmp_path):
    settings = {**loaded.header.settings, "cagan_terms": "terms in its model card, cagan.md", "noise": "uniform:0.2"}
    matte = {"name": "hatt", "sha256": "", "licence": "terms in its model card, hatt.md"}
    header = replace(loaded.header, settings=settings, matte=matte)
    text = card_of(loaded, tmp_path, config_of("erm"), header, shard_settings=settings)
    assert "- Boxes: matte hatt, terms in its model card, hatt.md." in text
    assert "- Fill cagan: terms in its model card, cagan.md." in text
    assert "noise uniform:0.2" in text


@pytest.mark.parametrize("name", ["a|b", "<script>", "`"])
def test_names_are_shown_as_they_are(loaded, tmp_path, name):
    names = [name, "b", "c", "d"]
    text = card_of(loaded, tmp_path, config_of("erm"), group_names=names)
    assert "<script>" not in text
    assert all(line.replace("\\|", "").count("|") == 3 for line in text.splitlines() if " 20 |" in line)


def test_many_groups_are_counted(loaded, tmp_path):
    names, counts = [f"g{i}" for i in range(60)], [*range(1, 61)]
    change = {"group_names": names, "train_group_counts": counts}
    assert "60 groups of 1 to 60 training pictures." in card_of(loaded, tmp_path, config_of("erm"), **change)
