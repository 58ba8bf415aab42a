"""clp-predict: parse, load a classifier, predict, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.command import MAIN, Tool
from clp_aug.common.completing import offered
from clp_aug.common.files import check_name, disk_error
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import UsageError
from clp_aug.datasets import DATASETS
from clp_aug.nets.devices import AUTO, HELP

if TYPE_CHECKING:
    from clp_train.predicting.description import Description
    from clp_train.predicting.pictures import Source
    from clp_train.predicting.table import Made

PATH = click.Path(path_type=Path)
GROUPS = {
    MAIN: ("out", "top", "skip_broken", "device"),
    "A data set in place of PICTURES": ("dataset", "root", "split"),
    "A run of plug-ins": ("model", "method"),
    "Output and help": ("as_json", "quiet", "version", "help"),
}


@click.command(
    cls=Tool, groups=GROUPS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__)
@click.argument("run", type=PATH)
@click.argument("pictures", type=PATH, required=False)
@click.option("--out", type=PATH, default=Path("predictions.csv"), show_default=True, help="Table to write.")
@click.option("--dataset", metavar="NAME", help="Predict a data set of clp-augment in place of PICTURES.",
              shell_complete=offered(lambda: DATASETS))  # fmt: skip
@click.option("--root", type=PATH, help="Folder of the data set.  [default: $CLP_DATA/NAME, else ./data/NAME]")
@click.option("--split", metavar="NAME", help="Its split.  [default: the first test split]")
@click.option(
    "--top", type=click.IntRange(1), metavar="K", help="Write only the K most likely classes.  [default: all]"
)
@click.option("--skip-broken", is_flag=True, help="Leave out pictures that cannot be read.")
@click.option("--model", metavar="NAME", help="The run's model if it is a plug-in; without this, its code is not run.")
@click.option("--method", metavar="NAME", help="The run's method if it is a plug-in.")
@click.option("--device", default=AUTO, show_default=True, help=HELP)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON in place of tables.")
@one_line_errors("no table was written")
def predict(
    run: Path,
    pictures: Path | None,
    out: Path,
    dataset: str | None,
    root: Path | None,
    split: str | None,
    top: int | None,
    skip_broken: bool,
    model: str | None,
    method: str | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Predict the classes of pictures with the classifier of a finished RUN, a folder that clp-train wrote.

    PICTURES is a folder, read at any depth, a picture, or a list: one path per line, or a CSV table with columns file
    and, if known, label and group. If labels are known, also as names of folders, accuracies are printed.

    clp-predict runs/demo-erm-seed0 photos --out predictions.csv
    """
    check_arguments(pictures, dataset, root, split, out)
    from clp_train.predicting.figures import figures
    from clp_train.predicting.pictures import find_pictures, of_dataset
    from clp_train.predicting.table import write_predictions
    from clp_train.predicting.trained import load_classifier

    classifier = load_classifier(run, device, model=model, method=method)
    about = classifier.about
    check_top(top, about)
    source = find_pictures(pictures, about) if pictures else of_dataset(str(dataset), root, split, about)
    for remark in source.remarks:
        say(remark, err=True)
    with progress_bars(quiet) as bar:
        watch = lambda rows, name: bar.track(rows, description=name)  # noqa: E731
        made = write_predictions(out, classifier, source, top, skip_broken, watch)
    found = figures(made, source, about)
    if as_json:
        click.echo(json.dumps(as_plain(run, out, about, made, found)))
        return
    show(made, found, about, source)
    say(f"wrote {out}: {len(made.rows):,} pictures")


def check_arguments(
    pictures: Path | None, dataset: str | None, root: Path | None, split: str | None, out: Path
) -> None:
    """Raise UsageError unless it is said once what to predict, InputError for a table that cannot be written."""
    if (pictures is None) == (dataset is None):
        raise UsageError("expected PICTURES (a folder, a list or a picture) or --dataset NAME, one of the two")
    for name, value in (("root", root), ("split", split)):
        if value is not None and dataset is None:
            raise UsageError(f"--{name} {value}: it belongs to a data set; give --dataset NAME, or leave it out")
    if out.is_dir() or (pictures is not None and out.absolute() == pictures.absolute()):
        what = "it is a folder" if out.is_dir() else "it is what is to be predicted"
        raise UsageError(f"--out {out}: {what}; give the name of a new table")
    check_name(out)
    if not out.parent.is_dir():
        raise disk_error(out, FileNotFoundError(2, "No such file or directory"))


def check_top(top: int | None, about: Description) -> None:
    """Raise UsageError for more classes than there are."""
    if top is not None and top > len(about.class_names):
        raise UsageError(f"--top {top}: the run has {len(about.class_names)} classes; give that many at most")


def as_plain(run: Path, out: Path, about: Description, made: Made, found: dict[str, Any] | None) -> dict[str, Any]:
    """Return what was done as plain JSON."""
    return {
        "run": str(run),
        "out": str(out),
        "class_names": list(about.class_names),
        "pictures": len(made.rows),
        "broken": made.broken,
        "labelled": found,
    }


def show(made: Made, found: dict[str, Any] | None, about: Description, source: Source) -> None:
    """Print what was passed over, and the figures where labels are known, on stdout."""
    if made.broken:
        say(f"passed over, for they cannot be read: {len(made.broken):,}, e.g. {made.broken[0]}", err=True)
    if found is None:
        return
    if about.group_names and not found["has_groups"]:
        say("groups of these pictures are not known: accuracies are by class", err=True)
    if found["pictures"] < len(made.rows):
        say(f"labels are known of {found['pictures']:,} of {len(made.rows):,} pictures", err=True)
    from clp_aug.common.consoles import PlainConsole
    from clp_train.report.figures import accuracy_of_pictures, confusion_table

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=120)  # a pipe has no width of its own
    console.print(accuracy_of_pictures(found))
    console.print(confusion_table(found["confusion"], about.class_names))
