"""Any classifier, opened: its logits are those of the network that it was made of, and a new last layer is refused."""

import pytest
import torch
from torch import nn

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.nets.exported import MOST_SAID, load_program
from clp_train.auditing import subject
from clp_train.auditing.opened import in_parts, resized
from clp_train.auditing.subject import Subject, open_subject, plain_pictures
from clp_train.running.export import export_classifier
from tests.clp_aug.nets.exporting import export
from tests.clp_train.builders import generator, network_of
from tests.clp_train.predicting.recorded import record

ABOUT = {"class_names": ["a", "b", "c"], "fit": "crop", "size": 16}


def pictures(n=5, side=16, seed=0):
    """Return random pictures, uint8 (n, 3, side, side)."""
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator(seed))


def opened(spec, classes=None, size=16, **more):
    return open_subject(str(spec), classes=classes, size=size, device="cpu", **more)


def names_file(path, count):
    """Write so many names, one a line; return the path."""
    path.write_text("".join(f"class {i}\n" for i in range(count)))
    return path


def refused(kind, spec, *more, **settings):
    """Return the one line that refuses a model."""
    with pytest.raises(kind) as caught:
        opened(spec, *more, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("method", "more"), [("erm", {}), ("la-posthoc", {"tau": 2.0}), ("ldam", {"scale": 7.0})])
def test_a_run_is_judged_as_its_method_does(loaded, tmp_path, method, more):
    was = record(loaded, tmp_path / "r", method, more)
    found = opened(tmp_path / "r")
    assert (found.kind, found.size, found.fit, found.classes) == ("run", 16, "crop", 2)
    assert found.class_names == (("ring",), ("cross",))
    assert found.remarks == ()
    assert found.network is not None
    x = pictures()
    with torch.no_grad():
        assert torch.equal(found.logits(x), was(x / 255))


def test_pictures_of_another_size_are_resized_and_a_remark_says_so(loaded, tmp_path):
    was = record(loaded, tmp_path / "r", "erm")
    found = opened(tmp_path / "r", size=40)
    assert found.remarks == ("pictures of 40 x 40 are resized to 16 x 16, the size that the model takes",)
    x = pictures(side=40)
    small = nn.functional.interpolate(x / 255, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert torch.equal(found.logits(x), was(small))


def test_names_of_the_user_count_before_those_of_the_model(loaded, tmp_path):
    record(loaded, tmp_path / "r", "erm")
    (tmp_path / "names.json").write_text('[["tench", "n01440764"], "goldfish"]')
    assert opened(tmp_path / "r", tmp_path / "names.json").class_names == (("tench", "n01440764"), ("goldfish",))
    message = refused(InputError, tmp_path / "r", names_file(tmp_path / "n.txt", 3))
    assert message.endswith(
        "n.txt has 3 names, but the model gives 2 logits; give one name for each logit, in their order"
    )


def test_an_exported_program_brings_its_names_and_its_size(tmp_path):
    network = network_of().float().eval()
    export_classifier(network, 16, tmp_path / "c.pt2", ABOUT)
    threads = torch.get_num_threads()
    found = opened(tmp_path / "c.pt2", size=24)
    assert (found.kind, found.class_names, found.size) == ("pt2", (("a",), ("b",), ("c",)), 16)
    assert (found.fit, found.network) == ("crop", None)
    assert found.remarks == ("pictures of 24 x 24 are resized to 16 x 16, the size that the model takes",)
    x = pictures()
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), network(x / 255).logits, atol=1e-4, rtol=1e-4)
    assert torch.get_num_threads() == threads, "an audit computes on all cores"
    assert load_program(tmp_path / "c.pt2").said == ABOUT
    assert load_program(tmp_path / "c.pt2").shape == (None, 3, 16, 16)


class Foreign(nn.Module):
    """Logits, or what `end` makes of them, of the mean colour."""

    def __init__(self, end=None):
        super().__init__()
        self.fc, self.end = nn.Linear(3, 4), end or nn.Identity()

    def forward(self, x):
        return self.end(self.fc(10 * x.mean((2, 3))))


def test_a_foreign_program_needs_names_and_gets_plain_pictures(tmp_path):
    module = Foreign()
    path = export(tmp_path / "f.pt2", module, 8)
    assert refused(UsageError, path) == (
        f"model {path}: the names of its 4 classes are unknown; give --classes FILE, one name a line in the order of"
        " the logits"
    )
    found = opened(path, names_file(tmp_path / "n.txt", 4))
    assert found.remarks[0].endswith("they go in as RGB in [0, 1], so it must normalise them itself")
    x = pictures(side=8)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), module(x / 255))


def test_probabilities_become_logits(tmp_path):
    module = Foreign(nn.Softmax(1))
    found = opened(export(tmp_path / "f.pt2", module, 8), names_file(tmp_path / "n.txt", 4))
    assert found.remarks[-1] == "it gives probabilities, not logits: their logarithms are used"
    x = pictures(side=8)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x).softmax(1), module(x / 255))


def test_a_probability_of_zero_stays_a_number():
    made = subject.as_function(subject.Opened("onnx", lambda x: torch.tensor([[0.0, 1.0]]), torch.device("cpu")), True)
    assert made(pictures(1)).softmax(1).tolist() == [[pytest.approx(0, abs=1e-30), 1]]


def test_a_program_for_so_many_pictures_gets_them(tmp_path):
    module = Foreign().eval()
    torch.export.save(torch.export.export(module, (torch.rand(3, 3, 8, 8),)), tmp_path / "three.pt2")
    found = opened(tmp_path / "three.pt2", names_file(tmp_path / "n.txt", 4))
    with torch.no_grad():
        for n in (1, 3, 7):
            x = pictures(n, 8)
            torch.testing.assert_close(found.logits(x), module(x / 255))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_are_always_full_and_their_results_those_of_each_picture(n, count):
    asked = []

    def run(x):
        asked.append(len(x))
        return x.flatten(1).sum(1, keepdim=True)

    x = torch.rand(n, 3, 2, 2, generator=generator(n))
    assert torch.equal(in_parts(run, count)(x), x.flatten(1).sum(1, keepdim=True))
    assert set(asked) == {count}


@pytest.mark.parametrize(
    ("module", "side", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), 8, "it gives one number per picture, expected one logit for"),
        (nn.Conv2d(3, 2, 1), 8, "for 2 pictures it gives (2, 2, 8, 8), expected logits (2, classes)"),
        (Foreign(nn.Threshold(1e9, float("nan"))), 8, "it gives NaN for plain pictures; give other weights"),
    ],
)
def test_what_gives_no_logits_is_refused(tmp_path, module, side, message):
    assert message in refused(InputError, export(tmp_path / "f.pt2", module, side))


def test_a_program_of_no_square_pictures_is_refused(tmp_path):
    torch.export.save(torch.export.export(nn.Flatten(), (torch.rand(2, 3, 8, 6),)), tmp_path / "f.pt2")
    message = refused(InputError, tmp_path / "f.pt2")
    assert "f.pt2: its input is (2, 3, 8, 6), expected (n, 3, side, side); export it for pictures" in message


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("{", "not an exported program (Expecting property name"),
        (f'{{"x": "{"y" * MOST_SAID}"}}', f"expected at most {MOST_SAID}"),
        ('{"class_names": "abc", "size": -3, "fit": ["crop"]}', ""),
        ("[1]", ""),
    ],
    ids=["no JSON", "long", "no names", "a list"],
)
def test_what_a_program_says_of_itself_is_looked_at(tmp_path, said, reason):
    program = torch.export.export(Foreign().eval(), (torch.rand(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "f.pt2", extra_files={"classifier.json": said})
    if reason:
        assert reason in refused(InputError, tmp_path / "f.pt2")
    else:
        assert "give --classes FILE" in refused(UsageError, tmp_path / "f.pt2")


def test_resizing_leaves_pictures_of_that_size_alone():
    x = torch.rand(2, 3, 9, 9, generator=generator())
    assert resized(x, None) is x
    assert resized(x, 9) is x
    assert resized(x, 4).shape == (2, 3, 4, 4)
    torch.testing.assert_close(resized(torch.full((1, 3, 50, 50), 0.25), 7), torch.full((1, 3, 7, 7), 0.25))


def test_pictures_to_try_with_are_two_different_ones():
    x = plain_pictures(16)
    assert (x.dtype, x.shape) == (torch.uint8, (2, 3, 16, 16))
    assert not torch.equal(x[0], x[1])
    assert plain_pictures(1).shape == (2, 3, 1, 1)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("nowhere", InputError, "model nowhere: no such folder or file; expected a run's folder, FILE.pt2, "),
        ("resnet8", UsageError, "model resnet8: resnet8 is audited as a run; give the folder that clp-train wrote"),
        ("efficientnet-lite0@x.pth", UsageError, "efficientnet-lite0 is audited as a run"),
        ("timm:", UsageError, "model 'timm:': expected timm:NAME"),
        ("timm:resnet18", UsageError,
         "model timm:resnet18: it has random weights; give timm:resnet18@FILE, weights of a local file"),
        ("torchvision:resnet18", UsageError, "it has random weights; give torchvision:resnet18@FILE"),
        ("torchvision:resnet18@none.pth", InputError, "no such file; give the path of the weights"),
        ("torchvision:resnet5@none.pth", UsageError, "unknown torchvision classifier 'resnet5'"),
        ("none.pt2", InputError, "classifier none.pt2: cannot read (No such file or directory)"),
        ("none.onnx", InputError, "model onnx:none.onnx: cannot read (No such file or directory)"),
        ("none.py:net", UsageError, "no file none.py; give its path"),
        ("clp_train.models:no_such_name", UsageError, "clp_train.models has no no_such_name"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(tmp_path, monkeypatch, spec, kind, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(kind, spec)


def test_other_files_and_folders_are_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    (tmp_path / "w.txt").write_bytes(b"")
    assert "a file of weights is not a whole network; give timm:NAME@FILE" in refused(UsageError, tmp_path / "w.pth")
    assert "it is a file of another kind; expected" in refused(InputError, tmp_path / "w.txt")
    assert "no result.json, so no finished run" in refused(InputError, tmp_path)


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingError, match="there is no such device"):
        open_subject(str(export(tmp_path / "f.pt2", Foreign(), 8)), classes=None, size=8, device="cuda:7")


def test_a_subject_is_a_record():
    made = Subject("s", "run", (("a",), ("b",)), 16, "crop", lambda x: x)
    assert (made.classes, made.network, made.remarks) == (2, None, ())
