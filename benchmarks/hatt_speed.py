"""How long does the shipped matting network take a picture of 224 px, beside its plain form, and are boxes the same?

    python benchmarks/hatt_speed.py [--onnx] [--rounds 5] [--out FILE]
    python benchmarks/hatt_speed.py --same-boxes DIR [--share 0.25] [--out FILE]

The plain form is torch's layers, batch norms folded, channels last: how clp-augment ran it before. Forms take turns
round by round; ratios are of one round. --onnx adds ONNX Runtime, float32, of the same weights. All is done twice: as
a process is, and after it was told to keep freed memory, as fits are.

--same-boxes runs both forms over the pictures of a folder with the .h5 files and waterbirds_like/ that
docs/how-to/data.md names, the given share of each, and counts mattes that differ in any bit and boxes that differ.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch

from clp_aug import boxing
from clp_aug.common.memory import keep_freed_memory
from clp_aug.contract import images
from clp_aug.datasets import load_dataset
from clp_aug.mattes.hatt import SIDE, HattMatte
from clp_aug.mattes.picture import Decoded
from clp_aug.nets.hatt_lite import HattLite, load
from clp_aug.nets.shipped import shipped_path
from clp_aug.nets.threads import one_thread

PICTURES = 16  # a round and form
FILES = ("matting_images", "coco256", "birds", "landscapes150", "tiny_imagenet100", "cifar10_jpeg")
MOST = 3_000  # of a file
Form = Callable[[list[Decoded]], object]


@dataclass(frozen=True)
class Plain:
    """The network as torch's layers make it."""

    network: HattLite

    def find_all(self, pictures: list[Decoded]) -> list[np.ndarray]:
        """Return the mattes of pictures of 224 px as one batch, float32 (224, 224) each."""
        with one_thread():
            x = torch.from_numpy(np.stack([one.image for one in pictures])).permute(0, 3, 1, 2).float() / 255
            return list(self.network(x)[:, 0].numpy())

    def find_each(self, pictures: list[Decoded]) -> list[np.ndarray]:
        """Return the mattes of pictures, one after the other."""
        return [self.find_all([one])[0] for one in pictures]


def plain() -> Plain:
    """Return the plain form with the shipped weights."""
    return Plain(load(shipped_path("hatt"))[0])


def with_threads(count: int, form: Form) -> Form:
    """Return a form that finds torch set to so many threads."""

    def found(pictures: list[Decoded]) -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return form(pictures)
        finally:
            torch.set_num_threads(before)

    return found


def onnx_form(folder: Path) -> Form:
    """Return ONNX Runtime on one thread, picture by picture, of a file that is written to the folder."""
    import onnxruntime

    path = folder / "hatt.onnx"
    network = load(shipped_path("hatt"))[0].to(memory_format=torch.contiguous_format)
    torch.onnx.export(network, (torch.zeros(1, 3, SIDE, SIDE),), path, dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def found(pictures: list[Decoded]) -> object:
        inputs = [np.ascontiguousarray(one.image.transpose(2, 0, 1)[None]) for one in pictures]
        return [session.run(None, {name: one.astype(np.float32) / 255})[0] for one in inputs]

    return found


def forms(onnx: Path | None) -> dict[str, Form]:
    """Return what is timed, by name; the first is what ratios are taken to."""
    quick, before = HattMatte(), plain()
    made: dict[str, Form] = {
        "plain, one by one": before.find_each,
        f"plain, batches of {PICTURES}": before.find_all,
        "quick, one by one": lambda pictures: [quick.find(one) for one in pictures],
        "quick, find_all, one thread": with_threads(1, quick.find_all),
        "quick, find_all, two threads": with_threads(2, quick.find_all),
    }
    return made if onnx is None else made | {"ONNX Runtime, one by one": onnx_form(onnx)}


def faults() -> int:
    """Return how many pages this process has been given so far; 0 where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def timed(all_forms: dict[str, Form], pictures: list[Decoded], rounds: int) -> list[dict]:
    """Return, for each form, milliseconds a picture (median, least, most), page faults and the ratio to the first."""
    taken: dict[str, list[float]] = {name: [] for name in all_forms}
    pages: dict[str, list[int]] = {name: [] for name in all_forms}
    for turn in range(rounds + 1):  # the first warms up
        for name, form in all_forms.items():
            before, start = faults(), time.perf_counter()
            form(pictures)
            if turn:
                taken[name].append(1000 * (time.perf_counter() - start) / len(pictures))
                pages[name].append((faults() - before) // len(pictures))
    first = next(iter(taken.values()))
    return [
        {
            "form": name, "ms": round(statistics.median(ms), 2), "ms_least": round(min(ms), 2),
            "ms_most": round(max(ms), 2), "page_faults": statistics.median(pages[name]),
            "times_as_fast": round(statistics.median(a / b for a, b in zip(first, ms, strict=True)), 2),
        }
        for name, ms in taken.items()
    ]  # fmt: skip


def speed(rounds: int, with_onnx: bool) -> dict:
    """Time all forms, as the process is and with freed memory kept."""
    rng = np.random.default_rng(0)
    pictures = [Decoded(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), i) for i in range(PICTURES)]
    with tempfile.TemporaryDirectory() as folder:
        all_forms = forms(Path(folder) if with_onnx else None)
    as_it_is = timed(all_forms, pictures, rounds)
    kept = keep_freed_memory()
    return {
        "torch": torch.__version__, "processor": torch.backends.cpu.get_cpu_capability(), "rounds": rounds,
        "machine": platform.platform(), "as_a_process_is": as_it_is,
        "freed_memory_kept": timed(all_forms, pictures, rounds) if kept else None,
    }  # fmt: skip


def all_pictures(data: Path, share: float) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (file, uint8 (H, W, 3) RGB), spread over each file."""
    for name in FILES:
        with h5py.File(data / f"{name}.h5") as file:
            offset = file["offset"][...]
            count = len(offset) - 1
            for row in np.linspace(0, count - 1, max(1, round(min(count, MOST) * share))).round().astype(int):
                content = file["bytes"][offset[row] : offset[row + 1]].tobytes()
                yield name, images.read_rgb(content, f"{name}:{row}")
    birds = load_dataset("waterbirds", data / "waterbirds_like")
    count = len(birds.samples.label)
    for row in np.linspace(0, count - 1, max(1, round(count * share))).round().astype(int):
        yield "waterbirds_like", birds.image(int(row), 160, "crop")


def same_boxes(data: Path, share: float) -> dict:
    """Return, for each file, pictures, mattes that differ in a bit, the largest difference, and boxes that differ."""
    quick, before = HattMatte(), plain()
    counts: dict[str, dict] = {}
    for name, image in all_pictures(data, share):
        method = cv2.INTER_AREA if len(image) > SIDE else cv2.INTER_CUBIC
        picture = Decoded(cv2.resize(image, (SIDE, SIDE), interpolation=method), 0)
        old, new = before.find_all([picture])[0], quick.find(picture)
        row = counts.setdefault(name, {"pictures": 0, "mattes_differ": 0, "largest": 0.0, "boxes_differ": 0})
        row["pictures"] += 1
        row["mattes_differ"] += not np.array_equal(old, new)
        row["largest"] = max(row["largest"], float(np.abs(old - new).max()))
        one, other = (boxing.enclosing_box(boxing.foreground(alpha)) for alpha in (old, new))
        row["boxes_differ"] += one != other
    total = {key: sum(row[key] for row in counts.values()) for key in ("pictures", "mattes_differ", "boxes_differ")}
    return counts | {"all": total | {"largest": max(row["largest"] for row in counts.values())}}


def main() -> None:
    """Do what was asked for, print it, and put it into the file of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", action="store_true", help="time ONNX Runtime, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--same-boxes", type=Path, metavar="DIR", help="compare mattes and boxes on its pictures")
    parser.add_argument("--share", type=float, default=0.25, help="of each file's pictures")
    parser.add_argument("--out", type=Path, help="JSON; what the other mode wrote there stays")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    if arguments.same_boxes:
        found = {"same_boxes": same_boxes(arguments.same_boxes, arguments.share)}
    else:
        found = {"speed": speed(arguments.rounds, arguments.onnx)}
    print(json.dumps(found, indent=1))
    if arguments.out:
        stored = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(stored | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
