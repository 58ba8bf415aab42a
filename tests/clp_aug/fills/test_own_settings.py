"""What a fill owns: settings and files that are declared in its own file and reach the door, the shard and the fill."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clp_aug import pipeline
from clp_aug.common.settings import about, fields_of, setting
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.fills import CF, FILLS, Fill, option_classes, read_options
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import crop
from clp_aug.mattes.picture import Picture


@dataclass(frozen=True)
class Options(FillOptions):
    level: int = setting(1, "Grey level that --cf flat fills with.", low=0, high=255)
    paint: Path | None = network_file("A file.", stored="paint", missing="needs paint: give it with --paint FILE")

    def terms(self):
        return "free"


def flat(scene, window, rng, materials, options):
    return np.full_like(crop(scene.image, window), options.level)


@pytest.fixture
def registered(monkeypatch):
    """This file as a fill, by one line in the registry."""
    monkeypatch.setitem(FILLS, "flat", Fill(f"{__name__}:flat", (CF,), "one grey level", options=f"{__name__}:Options"))
    option_classes.cache_clear()
    yield
    option_classes.cache_clear()


def test_one_file_and_one_line_make_a_fill_with_settings(registered, tmp_path):
    (tmp_path / "paint").write_bytes(b"red")
    settings = {"dataset": "demo", "limit": 8, "size": 16, "cf": ("flat",), "out": tmp_path / "x.h5"}
    outcome = pipeline.augment(AugmentConfig(**settings, options={"level": 7, "paint": tmp_path / "paint"}))
    reader = ShardReader(outcome.path)
    stored = reader.header.settings
    assert (stored["level"], stored["flat_terms"]) == (7, "free")
    assert stored["paint"] == "b1f51a511f1da0cd348b8f8598db32e61cb963e5fc69e2b41485bf99590ed75a", "sha256 of the file"
    assert str(tmp_path) not in str(stored)
    i = int(np.flatnonzero(reader.tables["meta/kind"] == CF)[0])
    assert (crop(reader.image(i), reader.tables["meta/box"][i]) == 7).all()
    with pytest.raises(UsageError, match="fill 'flat' needs paint: give it with --paint FILE"):
        AugmentConfig(**settings)
    assert AugmentConfig(dataset="demo", cf=("grey",)).stored()["level"] == 1


def test_what_does_not_fit_the_run_fails_before_a_picture_is_decoded(registered, tmp_path, monkeypatch):
    """The fill is asked, with the size and the classes of the run."""
    asked = []

    def check(self, size, classes):
        asked.append((size, classes))
        raise InputError("flat paint: too small")

    monkeypatch.setattr(Options, "check", check)
    monkeypatch.setattr(Picture, "image", property(lambda self: pytest.fail("a picture was decoded")))
    (tmp_path / "paint").write_bytes(b"red")
    settings = {"dataset": "demo", "limit": 8, "size": 16, "cf": ("flat",), "out": tmp_path / "x.h5"}
    with pytest.raises(InputError, match="too small"):
        pipeline.augment(AugmentConfig(**settings, options={"paint": tmp_path / "paint"}))
    assert asked == [(16, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["paint"]


@pytest.mark.parametrize(
    ("given", "used", "message"),
    [
        ({}, ("lama",), "fill 'lama' needs LaMa's network as TorchScript: give it with --lama-weights FILE.pt"),
        ({}, ("fgsm",), "fill 'fgsm' attacks a classifier: give one with --classifier FILE.pt2"),
        (
            {"epsilom": 0.1},
            (),
            "unknown setting of a fill 'epsilom': did you mean epsilon? choose one of cagan_",
        ),
        ({"epsilon": 0.1}, ("grey",), "epsilon = 0.1: only fill fgsm has this setting; add that fill, or leave the"),
        ({"epsilon": 2}, (), "epsilon = 2: expected a number from 0.00392157 to 1"),
        ({"cagan_layout": "tg"}, ("cagan",), "cagan_layout = tg: expected one of own, tf"),
        ({"classifier": "c.pt2"}, ("fgsm",), "classifier = c.pt2: expected a path"),
    ],
)
def test_settings_of_fills_refused_at_the_door(given, used, message):
    with pytest.raises(UsageError) as error:
        read_options(given, used)
    assert message in str(error.value)


def test_settings_of_fills_that_are_at_their_default_disturb_nobody():
    options = read_options({"epsilon": 0.5, "fgsm": "targeted", "classifier": None}, ("grey",))
    assert options == {name: kind() for name, kind in option_classes().items()}
    assert read_options({"cagan_layout": "tf"}, ("cagan",))["cagan"].stored() == {"cagan_layout": "tf"}


def test_settings_of_fills_have_names_of_their_own():
    names = [name for kind in option_classes().values() for name in fields_of(kind)]
    assert len(set(names)) == len(names)
    assert not set(names) & set(fields_of(AugmentConfig))
    assert all(about(field).help for kind in option_classes().values() for field in fields_of(kind).values())
