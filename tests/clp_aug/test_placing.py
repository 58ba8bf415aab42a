"""Where networks run: the device that was asked for, what auto leaves to the CPU, and that batches change nothing."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug import cli, on_device, placing
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, SettingError
from clp_aug.fills import CF, FILLS, infill, infill_all
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import MATTES, NETWORKS, About
from clp_aug.mattes.chain import locate, locate_all
from clp_aug.mattes.picture import Decoded
from clp_aug.placing import Devices, place_networks
from clp_aug.stages import Decode


def config(**change):
    return AugmentConfig(**{"dataset": "demo", "cf": ("grey",), **change})


@pytest.fixture
def accelerator(monkeypatch):
    """A machine with an accelerator, of which onnxruntime knows nothing."""
    monkeypatch.setattr(placing, "find_device", lambda name: "cuda:0")


@pytest.mark.parametrize(
    ("matte", "settings", "expected"),
    [
        ("hatt", {}, Devices("cuda:0", "cpu")),
        ("hatt:file", {"f": ("random",)}, Devices("cuda:0", "cpu")),
        ("given", {"cf": ("cagan",)}, Devices("cpu", "cuda:0")),
        ("grabcut", {"f": ("fgsm",), "options": {"classifier": Path("c.pt2")}}, Devices("cpu", "cuda:0")),
        ("hatt", {"cf": ("tile", "cagan")}, Devices("cuda:0", "cuda:0")),
        ("hatt", {"cf": ("cagan",), "device": "cpu"}, Devices()),
        ("centre", {}, Devices()),
        ("given", {"device": "cpu"}, Devices()),
    ],
    ids=str,
)
def test_networks_have_the_accelerator_and_nothing_else_has(accelerator, matte, settings, expected):
    assert place_networks(config(**settings), matte) == expected


@pytest.mark.parametrize("matte", [name for name in MATTES if name not in NETWORKS])
def test_a_device_without_a_network_is_refused(accelerator, matte):
    with pytest.raises(SettingError) as error:
        place_networks(config(f=("random", "shuffle"), device="cuda"), matte)
    assert str(error.value) == (
        f"device = cuda: it has no effect: matte {matte} and fills grey, random, shuffle are no networks; take"
        " device = cpu"
    )


def test_onnx_without_a_provider_stays_on_the_cpu_with_a_remark_where_no_device_was_named(accelerator):
    pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")
    devices = place_networks(config(cf=("cagan",)), "onnx:m.onnx")
    assert (devices.matte, devices.fills, devices.provider) == ("cpu", "cuda:0", "")
    assert devices.remark == (
        "matte onnx runs on the CPU: onnxruntime has no provider for cuda:0; pip install onnxruntime-gpu in its place"
    )
    named = place_networks(config(device="cuda"), "onnx:m.onnx")
    assert (named.matte, named.remark) == ("cuda:0", ""), "which the matte refuses when it is made"


def test_a_shard_keeps_nothing_of_the_cpu():
    assert Devices().stored() == Devices().in_words() == {}
    assert "device" not in config(device="cpu").stored()
    assert Devices().of("boxes-meta") == Devices().of("infill") == "cpu"


def test_a_device_that_is_not_there_is_one_line(tmp_path):
    done = CliRunner().invoke(
        cli.augment, ["--dataset", "demo", "--cf", "cagan", "--device", "cuda:77", "--out", str(tmp_path / "x.h5")]
    )
    assert done.exit_code == 2
    last = done.output.splitlines()[-1]
    assert last.startswith("error: --device cuda:77: there is no such device; there are: cpu")
    assert last.endswith("; take --device auto")
    assert not list(tmp_path.iterdir())


class Says:
    """A back end that answers by the number of the picture: alpha, a box, or nothing."""

    def __init__(self, name, answers):
        self.about, self.answers = About(name), answers

    def find(self, picture):
        return self.answers[picture.sample_id]


class SaysTogether(Says):
    """The same, in batches."""

    def find_all(self, pictures):
        return [self.find(picture) for picture in pictures]


@pytest.mark.parametrize("seed", range(20))
def test_many_pictures_are_located_as_each_alone(seed):
    rng, size, count = np.random.default_rng(seed), 16, 9

    def answer():
        x, y = rng.integers(0, 10, 2)
        mask = np.zeros((size, size), np.float32)
        mask[y : y + rng.integers(1, 17), x : x + rng.integers(1, 17)] = 1
        return [None, mask, np.ones((size, size), np.float32), np.zeros((4, 4), np.float32), (2, 2, 9, 9)][
            rng.integers(5)
        ]

    answers = [[answer() for _ in range(count)] for _ in range(2)]
    last = Says("centre", [(3, 3, 13, 13)] * count)
    pictures = [Decoded(np.zeros((size, size, 3), np.uint8), i) for i in range(count)]
    alone = [locate(one, [Says("a", answers[0]), Says("b", answers[1]), last], 1) for one in pictures]
    together = locate_all(pictures, [SaysTogether("a", answers[0]), SaysTogether("b", answers[1]), last], 1)
    for one, other in zip(alone, together, strict=True):
        assert (one.box, one.source, one.outcome) == (other.box, other.source, other.outcome)
        assert (one.matte == other.matte).all()
    with pytest.raises(InputError, match="sample 3: no matte gave a box"):
        locate_all(pictures, [Says("a", [(1, 1, 9, 9)] * 3 + [None] * 6)])


def scenes(boxes, side=24):
    rng = np.random.default_rng(0)
    return [Scene(rng.integers(0, 256, (side, side, 3), np.uint8), box, 0) for box in boxes]


def test_many_scenes_are_filled_as_each_alone_and_grey_where_nothing_is_known(monkeypatch):
    """Through the functions for an accelerator, here with networks on the CPU under another name."""
    some = scenes([(3, 4, 12, 20), (0, 0, 24, 24), (0, 0, 9, 9), (10, 3, 24, 8)])
    monkeypatch.setattr("clp_aug.fills.CPU", "an accelerator")
    for count in (1, 2, 3):
        monkeypatch.setattr("clp_aug.nets.threads.PIXELS", count * 24 * 24)
        rngs = [[np.random.default_rng(i) for i in range(4)] for _ in range(2)]
        together = infill_all("cagan", CF, some, rngs[0], Materials())
        alone = [infill("cagan", CF, *one, Materials()) for one in zip(some, rngs[1], strict=True)]
        assert [used for _, used in together] == [used for _, used in alone] == ["cagan", "grey", "cagan", "cagan"]
        for (one, _), (other, _) in zip(alone, together, strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1


def test_every_fill_with_a_network_has_both_functions():
    assert {name for name, fill in FILLS.items() if fill.many} == {"cagan", "lama", "fgsm"}
    for fill in FILLS.values():
        assert not fill.many or fill.options, "many takes the options"


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
def test_batches_are_decoded_in_order_and_no_more_than_so_many_wait(ahead):
    asked, given = [], []

    def work(items):
        asked.extend(items)
        return iter([("pictures", item.rows) for item in items])

    wanted = [Decode(np.array([i]), False) for i in range(10)]
    for batch in on_device.read_ahead(work, wanted, ahead):
        given.append(batch)
        assert len(asked) - len(given) <= ahead
    assert [int(rows[0]) for _, rows in given] == list(range(10))
    assert list(itertools.islice(on_device.read_ahead(work, [], ahead), 1)) == []


def test_without_networks_torch_is_not_loaded():
    """It takes longer to load than a few hundred pictures take without one."""
    code = (
        "import sys; from clp_aug.config import AugmentConfig; from clp_aug.placing import place_networks;"
        " config = AugmentConfig(dataset='demo', cf=('tile',), f=('random',));"
        " place_networks(config, 'centre').in_words(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("False\n", "")
