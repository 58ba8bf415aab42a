"""onnx on a device: the provider that serves it, and never the CPU in its place without a word."""

import numpy as np
import pytest

from clp_aug.contract.errors import SettingError
from clp_aug.mattes import make_matte
from clp_aug.nets import onnx_session, threads
from clp_aug.nets.onnx_session import PROVIDERS, options_of, provider_for
from tests.clp_aug.nets.onnx_models import FLOAT, INT64, matting, model, node, value

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")
CPU = "CPUExecutionProvider"


def shown(seed):
    """Return a picture of random pixels."""

    class Shown:
        image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        size, sample_id, alpha, box = 8, seed, None, None

    return Shown()


@pytest.fixture
def file(tmp_path):
    """Return the name of the matte of a model's bytes."""

    def write(content):
        (tmp_path / "m.onnx").write_bytes(content)
        return f"onnx:{tmp_path / 'm.onnx'}"

    return write


@pytest.fixture
def has(monkeypatch):
    """Say which providers there are; sessions run on the CPU, and claim to run on the first that is asked for."""
    asked = []

    def pretend(*providers, starts=True):
        real = onnxruntime.InferenceSession

        class Session(real):
            def __init__(self, weights, options, providers, enable_fallback):
                assert enable_fallback == 0
                asked.extend(providers)
                super().__init__(weights, options, providers=[CPU])

            def get_providers(self):
                return [asked[-1][0], CPU] if starts else [CPU]

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, CPU])
        return asked

    return pretend


@pytest.mark.parametrize(
    ("device", "there", "provider"),
    [
        ("cpu", (), CPU),
        ("cpu", ("CUDAExecutionProvider",), CPU),
        ("cuda:1", ("TensorrtExecutionProvider", "CUDAExecutionProvider"), "CUDAExecutionProvider"),
        ("cuda:0", ("ROCMExecutionProvider",), "ROCMExecutionProvider"),
        ("cuda:0", ("DmlExecutionProvider",), "DmlExecutionProvider"),
        ("xpu:0", ("OpenVINOExecutionProvider",), "OpenVINOExecutionProvider"),
        ("mps:0", ("CoreMLExecutionProvider", "AzureExecutionProvider"), "CoreMLExecutionProvider"),
        ("cuda:0", ("AzureExecutionProvider", "CoreMLExecutionProvider"), ""),
        ("tpu:0", ("CUDAExecutionProvider",), ""),
    ],
)
def test_the_provider_of_a_device(monkeypatch, device, there, provider):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*there, CPU])
    assert provider_for(device) == provider


def test_every_provider_is_one_of_onnxruntime():
    known = {*onnxruntime.get_all_providers(), "ROCMExecutionProvider"}  # which older ones have
    assert {name for names in PROVIDERS.values() for name in names} <= known


def test_options_name_the_device_and_forbid_rounding():
    assert options_of("CUDAExecutionProvider", "cuda:1") == {"device_id": "1", "use_tf32": "0"}
    assert options_of("OpenVINOExecutionProvider", "xpu:0") == {"device_type": "GPU.0"}
    assert options_of("DmlExecutionProvider", "cuda") == {"device_id": "0"}
    assert options_of("CoreMLExecutionProvider", "mps:0") == options_of(CPU, "cpu") == {}


@pytest.mark.parametrize(
    ("device", "package"),
    [
        ("cuda:0", "pip install onnxruntime-gpu in its place"),
        ("xpu:0", "pip install onnxruntime-openvino in its place"),
        ("tpu:0", "no package of it supports such a device"),
    ],
)
def test_a_device_that_onnxruntime_does_not_serve(file, device, package):
    with pytest.raises(SettingError) as error:
        make_matte(file(matting()), device)
    assert str(error.value) == (
        f"device = {device}: matte onnx: the onnxruntime that is installed has no provider for it; {package}; take"
        " device = cpu"
    )


def test_a_provider_that_does_not_start_is_told(file, has):
    has("CUDAExecutionProvider", starts=False)
    with pytest.raises(SettingError) as error:
        make_matte(file(matting()), "cuda:0")
    assert str(error.value) == (
        "device = cuda:0: matte onnx: onnxruntime's CUDAExecutionProvider does not start and would leave the work to"
        " the CPU; pip install onnxruntime-gpu in its place; take device = cpu"
    )


def passes(network, monkeypatch):
    """Count how many pictures each pass of a matte's network gets."""
    counted, run = [], network.run

    def counting(names, inputs):
        counted.append(len(next(iter(inputs.values()))))
        return run(names, inputs)

    monkeypatch.setattr(network, "run", counting)
    return counted


def one_at_a_time():
    """A network that says that it takes any number of pictures, and takes one."""
    sides = node("Constant", [], ["s"], value_ints=[1, 1, 8, 8])
    return matting(("n", 3, 8, 8), after=[sides, node("Reshape", ["end", "s"], ["matte"])])


@pytest.mark.parametrize(
    ("content", "device", "expected"),
    [
        (matting(("n", 3, 8, 8)), "cuda:0", [3, 3, 1]),
        (matting(("n", 3, 8, 8)), "cpu", [1] * 7),
        (matting((1, 3, 8, 8)), "cuda:0", [1] * 7),
        (matting((4, 3, 8, 8)), "cuda:0", [4, 4]),
        (matting((4, 3, 8, 8)), "cpu", [4, 4]),
        (one_at_a_time(), "cuda:0", [1] * 7),
    ],
    ids=["any number", "any number on the CPU", "one", "four", "four on the CPU", "one after all"],
)
def test_batches_give_each_picture_its_own_matte(file, has, monkeypatch, content, device, expected):
    monkeypatch.setattr(threads, "PIXELS", 3 * 8 * 8)
    pictures, single = [shown(seed) for seed in range(7)], make_matte(file(matting()))
    has("CUDAExecutionProvider")
    matte = make_matte(file(content), device)
    assert matte.provider == (CPU if device == "cpu" else "CUDAExecutionProvider")
    counted = passes(matte.network, monkeypatch)
    found = matte.find_all(pictures)
    assert counted == expected
    for picture, alpha in zip(pictures, found, strict=True):
        np.testing.assert_allclose(alpha, single.find(picture), atol=1e-6)


def test_a_network_of_four_gives_the_first_of_a_single_picture(file):
    four, one = (make_matte(file(matting((n, 3, 8, 8)))) for n in (4, 1))
    assert (four.find(shown(1)) == one.find(shown(1))).all()


def test_the_session_is_asked_for_one_provider(file, has):
    asked = has("CUDAExecutionProvider")
    make_matte(file(matting()), "cuda:2")
    assert asked == [("CUDAExecutionProvider", {"device_id": "2", "use_tf32": "0"})]
    assert onnx_session.kind_of("cuda:2") == "cuda"


def test_a_second_input_without_a_value_is_refused_in_one_line(file):
    """One with a value is in test_onnx.py."""
    content = model(
        [node("Identity", ["picture"], ["matte"])],
        [value("picture", FLOAT, (1, 3, 8, 8)), value("size", INT64, (2,))],
        [value("matte", FLOAT, (1, 3, 8, 8))],
    )
    with pytest.raises(Exception, match=r"it takes 2 inputs \('picture', 'size'\), expected one, the picture"):
        make_matte(file(content))
