"""Networks with weights of a file: the file's own last layer is asked, as the library itself asks it, or none."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.efficientnet_lite import EfficientNetLite0, imagenet_file, imagenet_weights
from clp_train.auditing.subject import open_subject
from tests.clp_train.builders import generator
from tests.clp_train.predicting.recorded import record

MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def pictures(n=2, side=224):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator(n))


def normalised(x, mean=MEAN, std=STD):
    """Return pictures, uint8, as the library's own preprocessing has them."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (x / 255 - mean) / std


def names_file(path, count):
    path.write_text("".join(f"class {i}\n" for i in range(count)))
    return path


def opened(spec, classes=None, size=224):
    return open_subject(spec, classes=classes, size=size, device="cpu")


@pytest.fixture(scope="module")
def small():
    """A network of torchvision with statistics that its logits hang on, of five classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.shufflenet_v2_x0_5(num_classes=5)
        network(torch.rand(8, 3, 64, 64))  # moves its running statistics
    return network.eval()


@pytest.mark.parametrize("wrapped", [False, True])
def test_torchvision_with_its_own_last_layer(small, tmp_path, wrapped):
    state = small.state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, tmp_path / "w.pth")
    spec = f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'w.pth'}"
    found = opened(spec, names_file(tmp_path / "n.txt", 5))
    assert (found.kind, found.size, found.classes, found.remarks) == ("torchvision", 224, 5, ())
    x = pictures()
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), small(normalised(x)), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.network(x / 255).logits, found.logits(x))
    smaller = opened(spec, names_file(tmp_path / "n.txt", 5), size=64)
    assert smaller.remarks == ("pictures of 64 x 64 are resized to 224 x 224, the size that the model takes",)


def test_names_of_five_classes_are_not_guessed(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match="the names of its 5 classes are unknown; give --classes FILE"):
        opened(f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'w.pth'}")


def test_a_thousand_classes_of_torchvision_are_those_of_imagenet(tmp_path):
    save_file(models.mobilenet_v3_small().state_dict(), tmp_path / "w.safetensors")
    found = opened(f"torchvision:mobilenet_v3_small@{tmp_path / 'w.safetensors'}")
    assert found.class_names[207][0] == "golden retriever"


@pytest.mark.parametrize("lost", ["fc.weight", "fc.bias"])
def test_torchvision_without_a_last_layer_is_refused(small, tmp_path, lost):
    torch.save({k: v for k, v in small.state_dict().items() if k != lost}, tmp_path / "w.pth")
    spec = f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'w.pth'}"
    with pytest.raises(InputError) as caught:
        opened(spec, names_file(tmp_path / "n.txt", 5))
    assert str(caught.value) == (
        f"model {spec}: the file has no last layer of this network, and a new one was never trained; give weights with"
        " their last layer, or a program: FILE.pt2, FILE.onnx"
    )


def test_a_last_layer_that_is_no_number_is_refused(small, tmp_path):
    torch.save(small.state_dict() | {"fc.bias": torch.full((5,), float("nan"))}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="bias holds NaN, infinity or no floating point; give other weights"):
        opened(f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'w.pth'}")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_timm_with_its_own_last_layer(tmp_path, name):
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=6).eval()
        for values in network.get_classifier().parameters():
            values.data.normal_()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    preset = network.pretrained_cfg
    found = opened(f"timm:{name}@{tmp_path / 'w.safetensors'}", names_file(tmp_path / "n.txt", 6), size=32)
    side = preset["input_size"][-1]
    assert (found.kind, found.size, found.classes) == ("timm", side, 6)
    x = pictures(side=side)
    with torch.no_grad():
        own = network(normalised(x, preset["mean"], preset["std"]))
        torch.testing.assert_close(found.logits(x), own, atol=1e-3, rtol=1e-3)


def test_timm_without_a_last_layer_is_refused(tmp_path):
    timm = pytest.importorskip("timm")
    state = timm.create_model("test_resnet", num_classes=6).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="the file has no last layer of this network, and a new one was never trained"):
        opened(f"timm:test_resnet@{tmp_path / 'w.safetensors'}")


def test_timm_with_several_last_layers_is_refused(tmp_path):
    pytest.importorskip("timm")
    save_file({"head.weight": torch.zeros(6, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"several last layers \(head, head_dist\); give it as FILE.pt2 or FILE.onnx"):
        opened(f"timm:deit_tiny_distilled_patch16_224@{tmp_path / 'w.safetensors'}")


def test_weights_of_a_run_are_opened_by_its_folder(loaded, tmp_path):
    record(loaded, tmp_path / "r", "erm", model="torchvision:shufflenet_v2_x0_5")
    with pytest.raises(InputError) as caught:
        opened(f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'r'}")
    assert str(caught.value).endswith(
        f"these weights are from a run of clp-train; give the run's folder, {tmp_path / 'r'}"
    )


def test_efficientnet_lite0_is_imagenets_own():
    try:
        imagenet_file()
    except UsageError:
        pytest.skip("the extra [pretrained] is not installed")
    found = opened("efficientnet-lite0", size=64)
    assert (found.kind, found.size, found.classes) == ("efficientnet-lite0", 224, 1000)
    assert found.class_names[207][0] == "golden retriever"
    network = EfficientNetLite0(1000).eval()
    network.load_state_dict(imagenet_weights())
    x = pictures()
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), network(x / 255), atol=1e-3, rtol=1e-3)


NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=3, end=None):
        super().__init__()
        self.body, self.fc, self.end = nn.Conv2d(3, 8, 3), nn.Linear(8, classes), end or nn.Identity()

    def forward(self, x):
        return self.end(self.fc(self.body(x).mean((2, 3))))


def fixed():
    return Net(3)


def behind():
    return Net(3, nn.Tanh())


def text():
    return "net"
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path / "nets.py"


def made(path, state=None):
    """Return the network of the file's `Net`, with weights."""
    space = {}
    exec(path.read_text(), space)
    network = space["Net"]().eval()
    network.load_state_dict(state or network.state_dict())
    return network


@pytest.mark.parametrize("name", ["Net", "fixed"])
def test_a_network_of_the_users_with_weights_of_a_file(nets, tmp_path, name):
    network = made(nets)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    found = opened(f"{nets}:{name}@{tmp_path / 'w.pth'}", names_file(tmp_path / "n.txt", 3), size=16)
    assert (found.kind, found.size, found.classes) == ("factory", None, 3)
    assert found.remarks == ("pictures go in as RGB in [0, 1], so the network must normalise by itself",)
    x = pictures(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), network(x / 255))


def test_a_network_that_brings_its_weights_is_asked_as_it_is_made(nets, tmp_path):
    found = opened(f"{nets}:fixed", names_file(tmp_path / "n.txt", 3), size=16)
    again = opened(f"{nets}:fixed", names_file(tmp_path / "n.txt", 3), size=16)
    assert torch.equal(found.logits(pictures(3, 16)), again.logits(pictures(3, 16)))
    assert isinstance(found.network.head, nn.Linear)


@pytest.mark.parametrize(
    ("name", "count", "kind", "message"),
    [
        ("fixed", None, UsageError, "the names of its classes are unknown; give --classes FILE, one name a line"),
        ("fixed", 4, UsageError, "its last layer gives 3 logits, and --classes names 4; name 3"),
        ("behind", 3, InputError, "what follows changes the logits; let it end there, or export it as FILE.pt2"),
        ("text", 3, UsageError, "it returns str, expected a torch.nn.Module"),
    ],
)
def test_networks_of_the_users_that_are_refused(nets, tmp_path, name, count, kind, message):
    with pytest.raises(kind) as caught:
        opened(f"{nets}:{name}", None if count is None else names_file(tmp_path / "n.txt", count), size=16)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_a_file_without_the_users_last_layer(nets, tmp_path):
    state = {name: value for name, value in made(nets).state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match="a new one was never trained"):
        opened(f"{nets}:Net@{tmp_path / 'w.pth'}", names_file(tmp_path / "n.txt", 3), size=16)
