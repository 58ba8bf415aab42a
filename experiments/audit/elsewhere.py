"""Networks that were not trained here, on pictures that are not ours: what a user without our trainer would do.

    python -m experiments.audit.elsewhere --pets DIR --tiny DIR --work DIR [--models efficientnet-lite0 timm:NAME@FILE]

DIR of --pets holds class folders train/ and test/ of cat and dog with masks/ beside them, of the Oxford-IIIT pets; that
of --tiny Tiny-ImageNet's folders train/ and val/ by WordNet id with boxes.csv. Classes of Tiny-ImageNet are found by
their WordNet id; for pets a mapping file names the 118 dogs and 5 cats of ImageNet. No training, no tuning.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from clp_aug.common.files import written_beside
from experiments.common import runner

DOGS, CATS = range(151, 269), range(281, 286)  # of ImageNet's 1000 classes
SHARDS = {
    "pets": ["--audit", "test", "--size", "224"],
    "tiny": ["--audit", "val", "--size", "64", "--limit", "600", "--pool", "6", "--draws", "2", "--remove", "telea"],
}


def mapping_of(path: Path) -> Path:
    """Write which classes of ImageNet are dogs and cats."""
    with written_beside(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "shard"])
        writer.writerows([(i, "dog") for i in DOGS] + [(i, "cat") for i in CATS])
    return path


def main() -> None:
    """Make both shards, audit every model on each, write what clp-audit says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pets", type=Path, required=True)
    parser.add_argument("--tiny", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["efficientnet-lite0"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "elsewhere.json")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    roots = {"pets": arguments.pets, "tiny": arguments.tiny}
    more = {"pets": ["--mapping", str(mapping_of(arguments.work / "mapping.csv"))], "tiny": []}
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name, options in SHARDS.items():
        shard = arguments.work / f"{name}-audit.h5"
        if not shard.exists():
            root = str(roots[name])
            boxes = ["--boxes", f"{root}/boxes.csv"] if name == "tiny" else []
            given = ["--dataset", "folder", "--root", root, *boxes, *options, "--quiet"]
            runner.command("clp-augment", [*given, "--out", str(shard)])
        for model in arguments.models:
            title = f"{model.partition('@')[0]} on {name}"
            if title not in found:
                command = [str(Path(sys.executable).parent / "clp-audit"), model, "--meta", str(shard), *more[name]]
                printed = subprocess.run([*command, "--json", "--quiet"], check=True, capture_output=True, text=True)
                found[title] = json.loads(printed.stdout)["models"][0] | {"model": model.partition("@")[0]}
                with written_beside(arguments.out) as temporary:
                    temporary.write_text(json.dumps(found, indent=1) + "\n")
            print(title, found[title]["verdict"], found[title]["gap"], flush=True)


if __name__ == "__main__":
    main()
