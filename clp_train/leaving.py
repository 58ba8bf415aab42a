"""Files of a run besides weights and result: descriptions, tables of predictions, programs, the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError
from clp_aug.nets.reading import first_line
from clp_train.evaluating.attention import Look
from clp_train.evaluating.predictions import Predictions, judged
from clp_train.exports import FILES, forms_of
from clp_train.loading.data import RunData
from clp_train.models.parts import Classifier
from clp_train.predicting.card import CARD, write_card
from clp_train.predicting.description import DESCRIPTION, describe, write_description
from clp_train.predicting.table import write_labelled
from clp_train.report.confusions import confusions_in
from clp_train.report.page import write_result_page
from clp_train.run_folder import PAGE, predictions_name
from clp_train.running.export import export_classifier


def products(result: Mapping[str, Any], forms: str) -> list[str]:
    """Return the files of a finished run besides weights and result, by name. forms: of programs, a comma list."""
    snapshot = result["selected"] or result["last"]
    tables = [predictions_name(split) for split in snapshot["metrics"]]
    return [PAGE, *programs(forms), DESCRIPTION, CARD, *tables]


def programs(forms: str) -> list[str]:
    """Return the names of the programs of some forms, a comma list."""
    return [FILES[form] for form in forms_of(forms)]


def write_texts(folder: Path, result: Mapping[str, Any], data: RunData, network: Classifier) -> None:
    """Write classifier.json and the model card. Raises InputError when the disk refuses."""
    about = describe(result, data, network)
    write_description(folder, about)
    write_card(folder, about, result, data.header)


def write_tables(folder: Path, predictions: Mapping[str, Predictions], data: RunData) -> None:
    """Write the predictions of each split, one line per picture. Raises InputError when the disk refuses."""
    classes = data.header.class_names
    for split, found in predictions.items():
        pictures = data.evaluation[split]
        ids = pictures.sample_id.tolist()
        columns: dict[str, list[Any]] = {"id": ids, "label": [classes[c] for c in pictures.label.tolist()]}
        if data.header.group_names:
            columns["group"] = [data.group_names[g] for g in pictures.group.tolist()]
        names = data.names.get(split) or list(map(str, ids))
        write_labelled(folder / predictions_name(split), names, columns, classes, found)


def write_programs(
    folder: Path, names: Sequence[str], network: Classifier, method: Any, result: Mapping[str, Any]
) -> Iterator[str]:
    """Write the classifier as the programs `names`; yield the reason for each that cannot be written.

    The network is moved to the CPU. Raises InputError when the disk refuses.
    """
    about = describe(result)
    for name in names:
        try:
            export_classifier(judged(network, method), about.size, folder / name, about.about())
        except InputError:
            raise
        except Exception as error:  # an exporter may raise anything, and hours of training must not be lost
            yield f"no {name}: {first_line(error)}"


def write_page_of(folder: Path, result: dict[str, Any], looks: Sequence[Look]) -> Iterator[str]:
    """Write the page of a result; yield the reason if it cannot be written."""
    try:
        write_result_page(result, folder / PAGE, looks, confusions_in(folder, result))
    except Exception as error:  # of any kind: hours of training must not be lost
        yield f"no {PAGE}: {error or type(error).__name__}"
