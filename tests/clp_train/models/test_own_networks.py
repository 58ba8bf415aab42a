"""Any nn.Module as a classifier: how its last layer is found, what is refused, and that its own noise is replayed."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from clp_aug.contract.errors import SettingError, UsageError
from clp_train.algorithm.hypergradient import hypergradient
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.passes import virtual_pass
from clp_train.algorithm.slopes import SLOPES
from clp_train.config import make_config
from clp_train.models import build_model, check_model
from clp_train.models.parts import frozen_batch_norm, last_block
from clp_train.running.trial import check_network
from tests.clp_train.builders import batch_of, generator

STATISTICS = ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
NETS = '''
import torch
from torch import nn
from clp_train.models.parts import Classifier, Output


class Net(nn.Module):
    """Two stages, dropout and a last layer; last: what the logits go through."""

    def __init__(self, classes, drop=0.5, bias=True, last=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.drop, self.fc = nn.Dropout(drop), nn.Linear(8, classes, bias)
        self.last = last or nn.Identity()

    def features(self, x):
        return self.stage(self.stem(x)).mean((2, 3))

    def forward(self, x):
        return self.last(self.fc(self.drop(self.features(x))))


class Behind(Net):
    """A layer that is registered before the last one, and after."""

    def __init__(self, classes):
        super().__init__(classes)
        self.side = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.features(x))


class Convolution(nn.Module):
    """A last layer that is a convolution of one pixel, behind pooling."""

    def __init__(self, classes):
        super().__init__()
        self.body, self.pool = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(8, classes, 1)

    def forward(self, x):
        return self.conv(self.pool(self.body(x))).flatten(1)


class Map(Convolution):
    """The same before pooling, as in SqueezeNet."""

    def forward(self, x):
        return self.pool(self.conv(self.body(x))).flatten(1)


class Ready(Classifier):
    """A classifier already."""

    def __init__(self, classes):
        super().__init__()
        self.stem, self.head, self.tail = nn.Conv2d(3, 4, 3), nn.Linear(4, classes), ("head.",)

    def forward(self, x):
        features = self.stem(x).mean((2, 3))
        return Output(features, self.head(features))


class Wrapper(Net):
    def forward(self, x):
        return {"logits": super().forward(x), "loss": None}


def thousand():
    return Net(1000)


def by_default(pretrained=False, num_classes=10):
    return Net(num_classes)


def unbiased(classes):
    return Net(classes, bias=False)


def in_a_row(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def softmax(classes):
    return Net(classes, last=nn.LogSoftmax(1))


class Cosine(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.normalize(x, dim=1))


class Plain(nn.Linear):
    pass


def cosines(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Cosine(4, classes))


def plain(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Plain(4, classes))


def without(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def alone(classes):
    return nn.Linear(3, classes)


def fails(classes):
    raise RuntimeError("not for\\n" + str(classes))


def nothing(classes):
    return classes


def two(classes, width):
    return Net(classes)


ready = Net(3)
number = 3
'''


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture(scope="module")
def build(nets):
    def build(name, classes=5, seed=0, head=None):
        return build_model(f"{nets}:{name}", classes, *STATISTICS, generator(seed), head)

    return build


def pictures(n=4, size=16, seed=0, dtype=torch.float32):
    return torch.rand(n, 3, size, size, generator=generator(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("Net", "body.stage.0."),
        ("thousand", "body.stage.0."),
        ("by_default", "body.stage.0."),
        ("unbiased", "body.stage.0."),
        ("Wrapper", "body.stage.0."),
        ("in_a_row", "body.0."),
        ("plain", "body.0."),
        ("Convolution", "body.body."),
        ("Ready", None),
    ],
)
def test_a_network_becomes_a_classifier(name, block, nets, build):
    check_model(f"{nets}:{name}")
    network, x = build(name), pictures()
    assert type(network.head) is nn.Linear
    for training in (True, False):
        out = network.train(training)(x)
        assert out.features.shape == (4, network.head.in_features)
        assert out.logits.shape == (4, 5)
        torch.testing.assert_close(out.logits, network.head(out.features))
    check_network(network, name, (x * 255).byte(), 5)
    assert block is None or network.tail[0] == block
    assert {"head.weight"} < set(last_block(network)) | {"stem"}
    again = build(name)
    again.load_state_dict(dict(network.state_dict()))
    assert torch.equal(again.eval()(x).logits, network.eval()(x).logits)


def test_start_values_come_from_the_generator_alone(build):
    torch.manual_seed(1)
    random = torch.get_rng_state()
    first = build("Net").state_dict()
    assert torch.equal(torch.get_rng_state(), random)
    torch.manual_seed(2)
    assert all(torch.equal(value, first[name]) for name, value in build("Net").state_dict().items())
    assert not torch.equal(build("Net", seed=1).head.weight, first["head.weight"])


def test_it_is_the_users_network_with_the_data_normalised(nets, build):
    """Its own layers and its own last layer, where that has the classes."""
    network, x = build("Net").eval(), pictures()
    body, found = network.body, network(x).logits
    body.fc = network.head
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in STATISTICS)
    torch.testing.assert_close(body((x - mean) / std), found)
    assert isinstance(body.drop, nn.Dropout)
    assert body.drop.p == 0.5


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("Behind", None, "it does not end in its layer side; let it end there, or name the layer that computes"),
        ("softmax", None, "it does not end in its layer fc: what follows changes the logits"),
        ("Map", None, r"its last layer gets \(4, 8, 14, 14\), expected one vector per picture"),
    ],
)
def test_what_was_taken_for_the_last_layer_is_looked_at(name, head, message, build):
    with pytest.raises(SettingError, match=message):
        check_network(build(name, head=head), "mine:net", (pictures() * 255).byte(), 5)


def test_the_last_layer_by_name(nets, build):
    network = build("Behind", head="fc")
    check_network(network, "mine", (pictures() * 255).byte(), 5)
    with pytest.raises(SettingError, match=r"model_head = fcc: did you mean fc\? expected the last linear layer of \S+;"
                                           r" it has fc, side"):  # fmt: skip
        build("Behind", head="fcc")
    with pytest.raises(SettingError, match=r"model_head = stem.0: expected the last linear layer"):
        build("Net", head="stem.0")
    with pytest.raises(SettingError, match=r"has no effect because .* returns a Classifier"):
        build("Ready", head="head")
    for model in ("resnet8", "torchvision:resnet18"):
        with pytest.raises(SettingError, match=f"model_head = fc: has no effect with model {model}, whose"):
            make_config({"meta": "x.h5", "model": model, "model_head": "fc"})
    config = make_config({"meta": "x.h5", "model": f"{nets}:Behind", "model_head": "fc"})
    assert config.as_json()["model_head"] == "fc"
    assert "model_head" not in make_config({"meta": "x.h5"}).as_json()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("without", "it has no linear layer; expected one that computes its logits"),
        ("cosines", "its last layer is of type Cosine, expected a linear one"),
        ("alone", "it is a linear layer itself, expected a network that ends in one"),
        ("fails", "RuntimeError: not for 5"),
        ("nothing", "it returns int, expected a torch.nn.Module"),
        ("two", "it takes classes, width; expected a function of the number of classes, or without arguments"),
        ("ready", "it is of type Net; expected a function of the number of classes"),
        ("number", "it is of type int; expected a function"),
        ("Nett", "did you mean Net?"),
    ],
)
def test_what_is_no_network_is_one_line(name, message, build):
    with pytest.raises(UsageError) as error:
        build(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", SLOPES)
def test_its_dropout_is_the_same_in_all_passes_of_a_step(mode, build):
    """The hypergradient is that of finite differences of the meta loss behind the virtual step, of the same noise."""
    network, batch, meta = build("Net", classes=3).double().train(), batch_of(2, n=12), batch_of(3)
    omega, rate = torch.zeros(len(batch), dtype=torch.float64, requires_grad=True), 0.5

    def training_loss(logits, omega):
        return (omega.sigmoid() * cross_entropy(logits, batch.label)).mean()

    def meta_loss(weights):
        return cross_entropy(virtual_pass(network, weights, meta.images).logits, meta.label).mean()

    def of(omega):
        """Return the meta loss at the virtual weights of some Omega, the long way."""
        with same_noise(5, torch.device("cpu")):
            weights = {name: w.detach().clone().requires_grad_() for name, w in network.named_parameters()}
            loss = training_loss(virtual_pass(network, weights, batch.images).logits, omega)
            steps = torch.autograd.grad(loss, tuple(weights.values()))
            return meta_loss({n: w.detach() - rate * g for (n, w), g in zip(weights.items(), steps, strict=True)})

    with same_noise(5, torch.device("cpu")):
        weights = dict(network.named_parameters())
        logits = virtual_pass(network, weights, batch.images).logits
        rates = [rate] * len(weights)
        found = hypergradient(network, weights, batch.images, logits, lambda u: training_loss(u, omega), (omega,),
                              meta_loss, rates, mode=mode).gradients[0]  # fmt: skip
    step = 1e-4
    with torch.no_grad():
        moves = step * torch.eye(len(batch), dtype=torch.float64)
    expected = torch.stack([(of(omega.detach() + move) - of(omega.detach() - move)).detach() / (2 * step)
                            for move in moves])  # fmt: skip
    assert (found - expected).norm() < 1e-3 * expected.norm()
    assert network.body.drop.training


def test_a_batch_norm_with_an_activation_keeps_it_when_it_is_frozen(build):
    class Active(nn.BatchNorm2d):
        def forward(self, x):
            return F.relu(super().forward(x))

    network, x = build("Net"), pictures()
    network.body.stem[1] = Active(6)
    expected = network.eval()(x).logits
    frozen_batch_norm(frozen_batch_norm(network)).train()
    network.body.drop.p = 0.0
    assert torch.equal(network(x).logits, expected)
    assert isinstance(network.body.stem[1], Active)
    assert not any(module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert torch.equal(functional_call(network, dict(network.state_dict()), (x,)).logits, expected)
