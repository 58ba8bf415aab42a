"""clp-augment and clp-fit with their networks on the second device: what they write is what the CPU writes."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from clp_aug import on_device, pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.fitting import inpainter, loop, matte
from clp_aug.fitting.config import InpainterFit, MatteFit
from clp_aug.fitting.pictures import read_pictures
from clp_aug.fitting.sources import read_sources
from clp_aug.nets import threads
from clp_aug.nets.contextual_attention import ContextualAttentionNet, start
from clp_aug.nets.layouts import LAYOUTS
from tests.clp_aug.nets.exporting import export
from tests.shadow import second_device

DEMO = {"dataset": "demo", "meta": "2/group", "limit": 12, "size": 32, "cf": ("grey",)}
TAKEN = f"{second_device.NAME} (a shadow of the CPU)"


class Mean(torch.nn.Module):
    """Stands for LaMa: the hole becomes the mean of what is known, darkened by a weight."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([0.9, 0.8, 0.7]))

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        known = (picture * (1 - hole)).sum((2, 3)) / (1 - hole).sum((2, 3))
        return picture * (1 - hole) + (known * self.weight)[:, :, None, None] * hole


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A classifier for fgsm and a network for lama, by the names of their options."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    classifier = torch.nn.Sequential(*layers, torch.nn.Linear(4, 2))
    folder = tmp_path_factory.mktemp("networks")
    torch.jit.script(Mean()).save(str(folder / "l.pt"))
    return {"classifier": export(folder / "c.pt2", classifier, 32), "lama_weights": folder / "l.pt"}


@pytest.fixture
def one_by_one(monkeypatch):
    """Batches of one picture: kernels of the CPU may round otherwise in larger ones."""
    monkeypatch.setattr(threads, "PIXELS", 1)


def shard_on(device, folder, **settings):
    """Return what a run on a device says, and its shard."""
    config = AugmentConfig(**{**DEMO, **settings}, device=device, out=folder / f"{device}.h5")
    outcome = pipeline.augment(config)
    return outcome, ShardReader(outcome.path)


def pictures(shard):
    return np.stack([shard.image(i) for i in range(len(shard))])


@pytest.mark.parametrize(
    ("settings", "matte", "fills"),
    [
        ({"matte": "hatt"}, TAKEN, None),
        ({"matte": "hatt", "cf": ("cagan", "tile"), "f": ("random", "mix-rand")}, TAKEN, TAKEN),
        ({"matte": "grabcut", "cf": ("cagan",)}, None, TAKEN),
        ({"matte": "given", "f": ("fgsm",)}, None, TAKEN),
        ({"matte": "given", "cf": ("lama",)}, None, TAKEN),
        ({"matte": "hatt", "cf": ("cagan",), "f": ("shuffle",), "workers": 2}, TAKEN, TAKEN),
    ],
    ids=[
        "matte",
        "both",
        "fills behind grabcut",
        "a classifier's gradient",
        "an archive of TorchScript",
        "workers decode",
    ],
)
def test_the_shard_of_the_device_is_that_of_the_cpu_but_for_its_name(
    tmp_path, networks, one_by_one, settings, matte, fills
):
    used = {"classifier": "fgsm", "lama_weights": "lama"}
    asked = (*settings.get("cf", ()), *settings.get("f", ()))
    settings = {**settings, "options": {name: networks[name] for name, fill in used.items() if fill in asked}}
    _, cpu = shard_on("cpu", tmp_path, **settings)
    second_device.forget()
    outcome, shadow = shard_on(second_device.NAME, tmp_path, **settings)
    assert second_device.uploads() > 0
    assert (pictures(cpu) == pictures(shadow)).all()
    assert all((values == shadow.tables[name]).all() for name, values in cpu.tables.items() if "digest" not in name)
    expected = {"matte_device": matte, "fill_device": fills}
    found = {name: shadow.header.settings.get(name) for name in expected}
    assert found == expected
    assert {**shadow.header.settings, **dict.fromkeys(expected)} == {**cpu.header.settings, **dict.fromkeys(expected)}
    assert outcome.devices == {
        use: f"{second_device.NAME}:0 (a shadow of the CPU)"
        for use, taken in (("matte", matte), ("fills", fills))
        if taken
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("size", [(16, 24), (27, 13)], ids=str)
def test_the_inpainter_of_each_layout(layout, smooth, size):
    network = ContextualAttentionNet(4, (2,), layout, smooth).eval()
    start(network, torch.Generator().manual_seed(0))
    picture = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros(2, 1, *size)
    hole[0, :, 3:9, 4:10], hole[1, :, :5] = 1, 1
    expected = network.fill(picture, hole)
    found = network.to(second_device.NAME).fill(picture.to(second_device.NAME), hole.to(second_device.NAME))
    assert torch.equal(found.cpu(), expected)


def test_workers_refine_what_the_device_mattes(tmp_path, one_by_one, monkeypatch):
    pytest.importorskip("pymatting", reason="the extra [matting] is not installed")
    here, made = [], pipeline.Stages.refined
    monkeypatch.setattr(pipeline.Stages, "refined", lambda self, wanted: here.append(1) or made(self, wanted))
    looks, counts = {}, {}
    for device, workers in (("cpu", 1), (second_device.NAME, 1), (second_device.NAME, 2)):
        here.clear()
        (tmp_path / f"{device}.h5").unlink(missing_ok=True)
        _, shard = shard_on(device, tmp_path, matte="hatt", refine=True, workers=workers)
        looks[device, workers] = np.stack([shard.matte(i) for i in range(len(shard.tables["look/sample_id"]))])
        counts[device, workers] = len(here)
    cpu, one, two = looks.values()
    assert (one == two).all()
    assert np.abs(cpu.astype(int) - one).max() <= 1  # of a pixel of the network's that lies between two levels
    assert list(counts.values()) == [len(cpu), len(cpu), 0], "with two workers this process has the device alone"


def test_auto_takes_it_and_batches_change_no_more_than_rounding(tmp_path):
    settings = {"matte": "hatt", "cf": ("cagan",), "limit": 40}
    (_, cpu), (_, auto) = shard_on("cpu", tmp_path, **settings), shard_on("auto", tmp_path, **settings)
    assert auto.header.settings["matte_device"] == TAKEN
    assert np.abs(cpu.tables["train/box"] - auto.tables["train/box"]).max() <= 1
    same = (cpu.tables["meta/box"] == auto.tables["meta/box"]).all(1)
    assert same.mean() > 0.9
    assert np.abs(pictures(cpu)[same].astype(int) - pictures(auto)[same]).max() <= 1


def test_where_no_network_runs_auto_is_the_cpu_and_a_name_is_refused(tmp_path):
    outcome, shard = shard_on("auto", tmp_path, matte="given")
    assert outcome.devices == {}
    assert not {"matte_device", "fill_device"} & set(shard.header.settings)
    config = AugmentConfig(**DEMO, matte="grabcut", device=second_device.NAME, out=tmp_path / "x.h5")
    with pytest.raises(
        SettingError, match="it has no effect: matte grabcut and fills grey are no networks; take device = c"
    ):
        pipeline.augment(config)


def test_a_run_does_not_go_on_on_another_device(tmp_path, monkeypatch):
    config = AugmentConfig(**DEMO, matte="hatt", device=second_device.NAME, out=tmp_path / "x.h5")
    with monkeypatch.context() as patch:
        patch.setattr(on_device, "fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(pipeline.Stages, "make_copies", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.augment(config)
    with pytest.raises(
        UsageError, match=rf"is of a run on {second_device.NAME} \(a shadow of the CPU\), now on the cpu"
    ):
        pipeline.augment(dataclasses.replace(config, device="cpu", resume=True))
    found = []
    monkeypatch.setattr(on_device, "locate_all", lambda *_: found.append(1))
    pipeline.augment(dataclasses.replace(config, resume=True))
    assert not found, "finished blocks are not made again"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two cut-outs, two backgrounds, two pictures with masks."""
    root, rng = tmp_path_factory.mktemp("matting"), np.random.default_rng(0)
    disc = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 14, 255, -1)
    for name in ("foregrounds", "backgrounds", "pictures", "masks"):
        (root / name).mkdir()
    for i in range(2):
        noise = rng.integers(0, 256, (40, 40, 3), np.uint8)
        cv2.imwrite(str(root / "foregrounds" / f"{i}.png"), np.dstack([noise // 2, disc]))
        cv2.imwrite(str(root / "backgrounds" / f"{i}.png"), noise // 4 + 150)
        cv2.imwrite(
            str(root / "pictures" / f"{i}.png"), np.where(disc[..., None] > 0, noise // 3, 200).astype(np.uint8)
        )
        cv2.imwrite(str(root / "masks" / f"{i}.png"), disc)
    return root


def matte_fit(folder, out, **change):
    short = {"steps": 3, "batch_size": 2, "sizes": (48,), "checkpoint_interval": 1, "validate_interval": 3}
    config = MatteFit(folder, out, **{**short, "start": "nothing", **change})
    return config, lambda on_step, resume: matte.fit(config, read_sources(folder), on_step, resume)


def inpainter_fit(folder, out, **change):
    short = {"steps": 3, "batch_size": 1, "sizes": (16, 32), "width": 4, "dilations": (2,), "checkpoint_interval": 1}
    config = InpainterFit(folder / "pictures", out, **{**short, "validate_interval": 3, **change})
    return config, lambda on_step, resume: inpainter.fit(config, read_pictures(folder / "pictures"), on_step, resume)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(matte, "VALIDATION", 3)
    monkeypatch.setattr(inpainter, "VALIDATION", 3)
    monkeypatch.setattr(inpainter, "CRITIC_WIDTH", 4)


FITS = [
    (matte_fit, {}), (matte_fit, {"adversarial": 0.05}), (inpainter_fit, {}), (inpainter_fit, {"adversarial": 0.001}),
    (inpainter_fit, {"smooth": False, "ssim": 0.0}),
]  # fmt: skip
IDS = ["matte", "matte with a critic", "inpainter", "inpainter with critics", "inpainter without a smooth start"]


@pytest.mark.parametrize(("make", "change"), FITS, ids=IDS)
def test_a_fit_on_the_device_is_that_on_the_cpu(folder, tmp_path, make, change):
    outs = {}
    for device in ("cpu", second_device.NAME):
        config, fit = make(folder, tmp_path / f"{device}.safetensors", **change, device=device)
        network = fit(loop.no_report, False)
        assert loop.device_of(network) == device
        outs[device] = [config.out.with_suffix(suffix).read_bytes() for suffix in (".safetensors", ".jsonl")]
    assert outs["cpu"] == outs[second_device.NAME]


@pytest.mark.parametrize(("make", "change"), FITS[1::2], ids=IDS[1::2])
def test_the_losses_of_a_fit_are_looked_at_every_so_many_steps(folder, tmp_path, make, change, monkeypatch):
    monkeypatch.setattr(loop, "READ_INTERVAL", 2)
    change = change | {"steps": 5, "checkpoint_interval": 100, "validate_interval": 100}
    told = {}
    for device in ("cpu", second_device.NAME):
        _, fit = make(folder, tmp_path / f"{device}.safetensors", **change, device=device)
        told[device] = {}
        fit(told[device].__setitem__, False)
    assert list(told["cpu"]) == [1, 2, 3, 4, 5]
    assert told[second_device.NAME] == {done: told["cpu"][done] for done in (2, 4, 5)}


@pytest.mark.parametrize(("make", "change"), FITS[:4], ids=IDS[:4])
def test_no_step_of_a_fit_waits(folder, tmp_path, make, change, monkeypatch):
    found = []

    for kind in (matte.MatteTask, inpainter.InpainterTask):

        def learn(self, step, batch, learn=kind.learn):
            second_device.forget()
            losses = learn(self, step, batch)
            found.append(dict(second_device.waits()))
            return losses

        monkeypatch.setattr(kind, "learn", learn)
    _, fit = make(folder, tmp_path / "w.safetensors", **change, device=second_device.NAME)
    fit(loop.no_report, False)
    assert found == [{}] * 3


def test_a_loss_that_is_not_finite_is_told_with_its_own_step(folder, tmp_path, monkeypatch):
    config, fit = inpainter_fit(folder, tmp_path / "w.safetensors", device=second_device.NAME, checkpoint_interval=100)
    real = loop.descend

    def spoilt(optimiser, loss, config, step):
        real(optimiser, loss * (torch.nan if step == 1 else 1), config, step)

    monkeypatch.setattr(loop, "descend", spoilt)
    with pytest.raises(InputError, match=r"^step 1: the loss: NaN or infinity; lower --lr and give another --out$"):
        fit(loop.no_report, False)
    assert not config.out.exists()


def killed(done, losses):
    if done == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("make", "change"), FITS[1::2], ids=IDS[1::2])
def test_a_fit_goes_on_on_another_device_with_a_remark(folder, tmp_path, make, change):
    _, whole = make(folder, tmp_path / "whole.safetensors", **change, device="cpu")
    whole(loop.no_report, False)
    for first, then in (("cpu", second_device.NAME), (second_device.NAME, "cpu")):
        out = tmp_path / f"{first}.safetensors"
        config, begun = make(folder, out, **change, device=first)
        with pytest.raises(KeyboardInterrupt):
            begun(killed, False)
        assert loop.remark_on(config, first) == ""
        assert loop.remark_on(config, then) == (
            f"begun on {first}, continues on {then}: a fit is bit-identical only on one machine"
        )
        make(folder, out, **change, device=then)[1](loop.no_report, True)
        assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
        assert json.loads(out.with_suffix(".jsonl").read_text().splitlines()[-1])["step"] == 3
