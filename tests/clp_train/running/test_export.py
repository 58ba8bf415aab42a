"""The classifier as a program: the network's logits in every form, what it says of itself, whole or not at all."""

import json
import resource

import onnx
import onnxruntime
import pytest
import torch

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.nets.exported import load_classifier
from clp_train import exports
from clp_train.evaluating.predictions import judged
from clp_train.exports import as_recorded, check_forms, forms_of, from_recorded
from clp_train.models.heads import make_head
from clp_train.running import export
from clp_train.running.export import SAID, Differs, export_classifier
from tests.clp_train.builders import config_of, generator, method_of, network_of, table_of
from tests.forked import code_in_a_fork

ABOUT = {"class_names": ["a", "b", "c"], "fit": "crop", "method": "erm", "size": 16}
ROWS = [("erm", {}), ("la-posthoc", {"tau": 1.5}), ("tde", {"alpha": 2.0}), ("csa", {"judge": "mean"}), ("ldam", {})]


def judged_as(method, options):
    """Return a network of random weights under a method's head, judged as it does."""
    network = network_of().float().eval()
    filled = method_of(method, table_of([0] * 5 + [1] * 3 + [2] * 2), options)
    if filled.head != "linear":
        network.head = make_head(filled.head, 64, 3, generator(1)).eval()
    if hasattr(network.head, "mean"):
        network.head.mean.normal_(generator=generator(2))
    return judged(network, filled)


@pytest.mark.parametrize(("method", "options"), ROWS)
def test_every_form_has_the_logits_of_the_network_with_their_adjustment(tmp_path, method, options):
    classifier = judged_as(method, options)
    for name in exports.FILES.values():
        export_classifier(classifier, 16, tmp_path / name, ABOUT)
    x = torch.rand(107, 3, 16, 16, generator=generator())
    session = onnxruntime.InferenceSession(tmp_path / "classifier.onnx", providers=["CPUExecutionProvider"])
    programs = {
        "pt2": torch.export.load(tmp_path / "classifier.pt2").module(),
        "attacked": load_classifier(tmp_path / "classifier.pt2"),
        "onnx": lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
    }
    with torch.no_grad():
        for n in (1, 7, 100):
            for name, program in programs.items():
                torch.testing.assert_close(program(x[:n]), classifier(x[:n]), atol=1e-4, rtol=1e-4, msg=name)


def test_programs_say_what_they_are(tmp_path):
    for name in exports.FILES.values():
        export_classifier(network_of().float(), 16, tmp_path / name, ABOUT)
    said = {SAID: ""}
    torch.export.load(tmp_path / "classifier.pt2", extra_files=said)
    assert json.loads(said[SAID]) == ABOUT
    props = {p.key: p.value for p in onnx.load(tmp_path / "classifier.onnx").metadata_props}
    assert props == {"class_names": '["a", "b", "c"]', "fit": "crop", "method": "erm", "size": "16"}


def test_a_program_with_other_logits_is_not_kept(tmp_path, monkeypatch):
    before = export.as_pt2
    monkeypatch.setitem(export.FORMS, ".pt2", lambda judged, *more: (before(judged, *more)[0], lambda x: judged(x) + 1))
    with pytest.raises(Differs, match=r"c\.pt2: its logits differ by 1\.0e\+00 from the network's; it is not kept"):
        export_classifier(network_of().float(), 16, tmp_path / "c.pt2")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    """In a process of its own: torch ends the one in which a file refuses."""

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(InputError) as caught:
            export_classifier(network_of().float(), 16, tmp_path / "c.pt2")
        assert str(caught.value).startswith(f"cannot write {tmp_path}/c.pt2 (File too large); ")

    assert code_in_a_fork(work) == 0, "what it printed stands above"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "forms"),
    [("none", ()), ("pt2", ("pt2",)), ("onnx", ("onnx",)), ("onnx, pt2", ("pt2", "onnx")), ("pt2,pt2", ("pt2",))],
)
def test_forms_are_a_comma_list(text, forms):
    check_forms(text)
    assert forms_of(text) == forms


@pytest.mark.parametrize("text", ["pt", "pt2,", "", "none,pt2", "tflite", "PT2"])
def test_unknown_forms_are_refused(text):
    with pytest.raises(SettingError, match=r"expected pt2, onnx, some of them with commas, or none$"):
        check_forms(text)


def test_a_form_that_needs_what_is_not_installed_is_refused_before_training(monkeypatch):
    monkeypatch.setitem(exports.NEEDS, "onnx", ("onnx", "not_there"))
    message = r"export = onnx: onnx needs not_there: pip install 'causal-logit-perturbation\[onnx\]'"
    with pytest.raises(UsageError, match=message):
        config_of("erm", export="onnx")


@pytest.mark.parametrize(("value", "recorded"), [("none", False), ("pt2", True), ("onnx", "onnx"), ("pt2,onnx",) * 2])
def test_records_keep_the_flag_that_it_was(value, recorded):
    assert as_recorded(value) == recorded
    assert from_recorded(recorded) == value
    assert config_of("erm", export=recorded).run.export == value
    assert config_of("erm", export=value).as_json()["export"] == recorded
