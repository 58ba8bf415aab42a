"""The full state of a run is read as it was written, or refused in one line."""

import contextlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.state import check_same_tensors, digest_of, read_state, write_state

KEY = {"lr": 0.1, "pictures": "ab", "layers": [1, 2]}
PLAIN = {"step": 3, "history": [{"loss": 0.1 + 0.2}], "best": None}
TENSORS = {
    "w": torch.arange(6.0).view(2, 3),
    "t": torch.arange(6).view(3, 2).T,
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "x.safetensors"
    write_state(path, KEY, PLAIN, TENSORS)
    return path


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def rewrite(path, texts, tensors=TENSORS, digest=None):
    """Write a state with other texts, whose digest is right unless it is given."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    texts = {**metadata_of(path), **texts}
    path.write_bytes(save(whole, {**texts, "sha256": digest or digest_of(texts, whole)}))


def test_what_was_written_is_read(state):
    plain, tensors = read_state(state, KEY)
    assert plain == PLAIN
    check_same_tensors(tensors, TENSORS)
    assert all(torch.equal(value, TENSORS[name]) for name, value in tensors.items())


def test_what_was_read_hangs_on_no_file(state):
    _, tensors = read_state(state, KEY)
    write_state(state, KEY, PLAIN, {name: torch.zeros_like(value) for name, value in TENSORS.items()})
    assert torch.equal(tensors["w"], TENSORS["w"])
    assert all(value.untyped_storage().filename is None for value in tensors.values())


EARLIER = "a checkpoint of an earlier version, or damaged; remove it and start again"


@pytest.mark.parametrize("name", ["key", "plain", "sha256", "w", "none"])
def test_a_state_that_lacks_something_is_refused(state, name):
    """What earlier versions wrote had no digest."""
    texts, tensors = metadata_of(state), {k: v.contiguous() for k, v in TENSORS.items() if k != name}
    texts.pop(name, None)
    state.write_bytes(save(tensors, texts))
    with pytest.raises(InputError, match=rf"x\.safetensors: ({EARLIER}|damaged checkpoint \('{name}'\); remove)"):
        read_state(state, KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"w": torch.arange(6.0).view(3, 2)},
        {"w": torch.arange(6.0).view(2, 3) + 2**-20},
        {"flags": torch.tensor([True, True])},
        {"none": torch.zeros(4, 0)},
        {"half": torch.ones(3, dtype=torch.float16)},
        {"more": torch.zeros(1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_tensor_that_changed_is_refused(state, change):
    rewrite(state, {}, TENSORS | change, metadata_of(state)["sha256"])
    with pytest.raises(InputError, match=EARLIER):
        read_state(state, KEY)


@pytest.mark.parametrize("text", ["plain", "key"])
def test_a_text_that_changed_is_refused(state, text):
    changed = metadata_of(state)[text].replace("0", "5")
    rewrite(state, {text: changed}, digest=metadata_of(state)["sha256"])
    with pytest.raises(InputError, match=EARLIER):
        read_state(state, KEY)


DEEP, DIGITS = "[" * 100_000 + "]" * 100_000, "9" * 5000


@pytest.mark.parametrize("text", ["plain", "key"])
@pytest.mark.parametrize("forged", ["", "[1]", "3", "null", "nan", "{", DEEP, f'{{"step": {DIGITS}}}'])
def test_texts_that_no_run_wrote_are_one_line(state, text, forged):
    rewrite(state, {text: forged})
    with pytest.raises(InputError, match=r"x\.safetensors: damaged checkpoint \(.*\); remove it and start again"):
        read_state(state, KEY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged checkpoint"),
        (b"junk" * 10, "damaged checkpoint"),
        ((2**63).to_bytes(8, "little") + b"{}", "damaged checkpoint"),
        (len(DEEP).to_bytes(8, "little") + DEEP.encode(), "damaged checkpoint"),
        (save({}), EARLIER.replace("a checkpoint", ".*")),
        (None, "no checkpoint to resume from; run without --resume"),
    ],
    ids=["empty", "junk", "long", "deep", "bare", "gone"],
)
def test_a_file_that_is_no_state_is_one_line(state, content, message):
    state.unlink()
    if content is not None:
        state.write_bytes(content)
    with pytest.raises(InputError, match=f"{message}|damaged checkpoint .'key'."):
        read_state(state, KEY)


def test_a_folder_in_its_place_is_one_line(state):
    state.unlink()
    state.mkdir()
    with pytest.raises(InputError, match=r"x\.safetensors"):
        read_state(state, KEY)


def test_no_change_of_a_file_gets_through(state):
    rng, good = np.random.default_rng(0), state.read_bytes()
    for _ in range(300):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        state.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)
        with contextlib.suppress(InputError, UsageError):
            plain, tensors = read_state(state, KEY)
            assert json.dumps(plain) == json.dumps(PLAIN)
            assert all(torch.equal(value, TENSORS[name]) for name, value in tensors.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.2}, r"x\.safetensors is of a run with lr = 0\.1, now 0\.2; choose another --out"),
        ({"new": 1}, r"is of a run with new = None, now 1; choose another --out"),
        ({"pictures": "cd"}, r"is of a run on other pictures than now; restore those, or choose another --out"),
    ],
)
def test_the_state_of_another_run_is_refused(state, change, message):
    with pytest.raises(UsageError, match=message):
        read_state(state, KEY | change)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no tensor w"),
        ({"w": torch.zeros(2), "v": torch.zeros(1)}, "an unknown tensor v"),
        ({"w": torch.zeros(3)}, r"tensor w is torch\.float32 \(3,\), expected torch\.float32 \(2,\)"),
        ({"w": torch.zeros(2, dtype=torch.int64)}, r"tensor w is torch\.int64 \(2,\), expected torch\.float32 \(2,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, message):
    with pytest.raises(ValueError, match=message):
        check_same_tensors(tensors, {"w": torch.zeros(2)})


def test_the_same_state_is_the_same_bytes(tmp_path):
    """The library writes metadata in an order of chance."""
    for i in range(12):
        write_state(tmp_path / f"{i}.x", {"lr": 0.1, "name": "é"}, {"step": 3}, {"b": torch.ones(3), "a": torch.eye(2)})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
