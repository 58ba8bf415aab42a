"""A trained classifier, loaded from the folder of its run: a module with its class names and its preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clp_aug.common.files import disk_error
from clp_aug.common.plugins import is_code, label
from clp_aug.common.settings import fields_of, typed
from clp_aug.contract import images
from clp_aug.contract.errors import InputError, SettingError
from clp_aug.nets.devices import CPU, find_device
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings, SgdSettings
from clp_train.algorithm.table import TrainTable
from clp_train.evaluating.predictions import Judged, judge_of
from clp_train.methods import build_method, make_options, options_of
from clp_train.models import build_model
from clp_train.models.heads import make_head
from clp_train.models.names import split
from clp_train.models.parts import Classifier
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import as_input
from clp_train.predicting.description import WRITE_IT, Description, read_description
from clp_train.running.checkpoint import read_weights

FIRST, PEERS = "nets.0.", "nets."
"""Beginnings of the names of weights: of the first of two networks, and of both."""
Picture = Image.Image | np.ndarray | Path | str


class TrainedClassifier(Judged):
    """A trained classifier in evaluation mode: float32 (N, 3, size, size) in [0, 1] -> logits (N, C); their softmax
    gives probabilities.

    about: its description; class_names: in the order of the logits; preprocess: prepares one picture for it.
    """

    network: Classifier

    def __init__(self, network: Classifier, method: Method, about: Description) -> None:
        super().__init__(network, judge_of(method, network), method.scale)
        self.about, self.class_names = about, about.class_names
        self.eval()

    def preprocess(self, picture: Picture) -> Tensor:
        """Return one picture as the classifier needs it, read as in training: float32 (3, size, size) in [0, 1].

        picture: the path of a file, a PIL image, or uint8 (H, W, 3) RGB or (H, W) grey. Raises InputError for a file
        that is not a picture, and for an array of another type.
        """
        read = image_of(picture, self.about.size, self.about.fit)
        return as_input(torch.from_numpy(np.ascontiguousarray(read.transpose(2, 0, 1))))


def image_of(picture: Picture, size: int, fit: str) -> np.ndarray:
    """Return a picture after the fixed resize and crop: uint8 (size, size, 3)."""
    if isinstance(picture, (str, Path)):
        try:
            data = Path(picture).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise disk_error(picture, error, "read") from None
        return images.read_rgb(data, str(picture), size, fit)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
            raise InputError(
                f"picture: an array of {picture.dtype} {picture.shape}; expected uint8 (H, W, 3) RGB or (H, W) grey"
            )
        picture = Image.fromarray(picture)
    turn = images.TURNS.get(picture.getexif().get(images.ORIENTATION, 1))
    rgb = images.to_rgb(picture if turn is None else picture.transpose(turn), "picture")
    return np.asarray(images.Geometry.of(*rgb.size, size, fit).apply(rgb))


def load_classifier(
    run: Path | str, device: str = CPU, *, model: str | None = None, method: str | None = None
) -> TrainedClassifier:
    """Return the classifier of a finished run: of the selected epoch if there is a val split, else of the last one.

    run: the folder that clp-train wrote, or a copy of its classifier.json and the weights that this file names; device:
    a value of --device; model, method: names of the run's model and method, required if they are plug-ins, because code
    never runs on the word of a file alone. Raises InputError for a folder without a finished run, or with other files;
    SettingError for a device that does not exist, and for a plug-in that is not named.
    """
    folder = Path(run)
    about = with_names(read_description(folder), model, method)
    place = find_device(device)
    judge = method_of(about, folder)
    network = network_of(about, judge)
    state, path = read_weights(folder / about.weights), folder / about.weights
    if state and all(name.startswith(PEERS) for name in state):
        state = {name.removeprefix(FIRST): value for name, value in state.items() if name.startswith(FIRST)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not the weights of model {about.config['model']} ({reason}); train again") from None
    network.to(memory_format=torch.channels_last)  # as in training: other layouts round differently
    network.requires_grad_(False)
    return TrainedClassifier(network.to(place), judge, about)


def with_names(about: Description, model: str | None, method: str | None) -> Description:
    """Return the same with the names that the user gave, and without the weights that training started from."""
    names = {
        "model": named("model", split(str(about.config["model"]))[0], model and split(model)[0]),
        "method": named("method", about.method, method),
    }
    return replace(about, config={**about.config, **names})


def named(what: str, recorded: str, given: str | None) -> str:
    """Return the name of a model or method: the recorded one, or the plug-in that the user names.

    Raises SettingError for a plug-in that the user does not name, and for the name of another one.
    """
    if given is not None and label(given) != label(recorded):
        raise SettingError(what, given, f"the run has {recorded}; leave it out, or give that name", {what: recorded})
    if given is None and is_code(recorded, what):
        reason = f"the run's {what} is a plug-in, and its code runs only if you name it, too"
        raise SettingError(what, recorded, reason, {what: recorded})
    return given or recorded


def network_of(about: Description, method: Method) -> Classifier:
    """Return the network of a run without its weights, with the method's last layer."""
    generator, classes = generator_for(0, 0, "network"), len(about.class_names)
    name, head = about.config["model"], about.config.get("model_head")
    network = build_model(name, classes, [0.0] * 3, [1.0] * 3, generator, head, about.size)
    if about.transform_input:
        vars(network.get_submodule("body"))["transform_input"] = True
    if method.head != "linear":
        network.head = make_head(method.head, network.head.in_features, classes, generator)
    return network


def method_of(about: Description, folder: Path) -> Method:
    """Return the method of a run, which computes the final logits.

    Raises InputError if it needs the classes of the training pictures and a run of an earlier version lacks them.
    """
    method = build_method(options_from(about), context_of(about))
    if about.cells is None and type(method).predict is not Method.predict:
        raise InputError(
            f"{folder}: {about.method} adjusts its logits with numbers that earlier versions did not store; {WRITE_IT}"
        )
    return method


def options_from(about: Description) -> Any:
    """Return the method's own settings from the record of a run."""
    kind, record = options_of(about.method), {**about.config, **about.config.get("options", {})}
    return make_options(
        about.method, {name: typed(kind, name, record[name]) for name in fields_of(kind) if name in record}
    )


def context_of(about: Description) -> Context:
    """Return what the method of a run knew before it started, as far as predictions depend on it."""
    config = about.config
    return Context(
        about.method, table_of(about), generator_for(config["seed"], 0, "method"), config["seed"], config["epochs"],
        config["batch_size"], config["trainable"], *(room_of(kind, config) for kind in ROOMS),
    )  # fmt: skip


ROOMS: tuple[Callable[..., Any], ...] = (SgdSettings, MetaStepSettings, SaliencySettings)


def room_of(kind: Any, config: Any) -> Any:
    """Return the settings of one group, a dataclass, from a record."""
    names = [field.name for field in fields(kind) if field.name in config]
    return kind(**{name: typed(kind, name, config[name]) for name in names})


def table_of(about: Description) -> TrainTable:
    """Return a table with the run's numbers of training pictures per class and group; one per pair if unknown."""
    classes, groups = len(about.class_names), len(about.group_names) or len(about.class_names)
    cells = about.cells
    if cells is None:
        cells = tuple((c, g, 1) for c in range(classes) for g in range(groups))
    c, g, n = torch.tensor(cells).unbind(1)
    label, group = c.repeat_interleave(n), g.repeat_interleave(n)
    return TrainTable(label, group, classes, groups, about.class_names, torch.arange(classes))
