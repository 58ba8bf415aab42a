"""Do the two attentions of the matting network do any work? The same fit with and without them, three seeds.

    python -m experiments.matting.matte_ablation --fitted DIR --held-out DIR --work DIR [--steps 400] [--seeds 0 1 2]

Hypothesis (to be refuted): without channel distillation, or without the filtering of appearance cues, boxes and mattes
of pictures that were held out are worse. --fitted and --held-out are train/ and held-out/ of unpack_matting.py. Fits
are short and at 128 px with 8 pairs a step, so that twelve of them take one core an hour: read differences, not levels.
A fit that was killed goes on; one that is done is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from clp_aug.common.files import written_beside
from clp_aug.common.memory import keep_freed_memory
from clp_aug.fitting.composites import Composites
from clp_aug.fitting.config import MatteFit
from clp_aug.fitting.loop import state_file
from clp_aug.fitting.matte import fit, validate
from clp_aug.fitting.sources import read_sources
from clp_aug.nets.hatt_lite import load

SIZE = 128
PAIRS = 600  # held-out pairs a fit is scored on, the same for all
VARIANTS = {
    "both attentions": {},
    "without distillation": {"distil": False},
    "without cue filtering": {"filter_cues": False},
    "without both": {"distil": False, "filter_cues": False},
}


def main() -> None:
    """Fit every variant with every seed, score it on held-out pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fitted", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "matte_ablation.json")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    fitted, held_out = read_sources(arguments.fitted), read_sources(arguments.held_out)
    pairs = Composites(held_out.foregrounds, held_out.backgrounds, held_out.naturals, 0, SIZE)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.variants:
            out = arguments.work / f"{name.replace(' ', '_')}-{arguments.steps}-seed{seed}.safetensors"
            config = MatteFit(
                arguments.fitted, out, steps=arguments.steps, batch_size=8, sizes=(SIZE,), seed=seed, **VARIANTS[name]
            )
            if not out.exists():
                fit(config, fitted, resume=state_file(config).exists())
            found = validate(load(out)[0], [pairs.item(i) for i in range(PAIRS)])
            rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
            rows.setdefault(name, {})[str(seed)] = {"steps": arguments.steps, "batch_size": config.batch_size, **found}
            with written_beside(arguments.out) as temporary:
                temporary.write_text(json.dumps(rows, indent=1) + "\n")
            print(f"{name}, seed {seed}: {found}", flush=True)


if __name__ == "__main__":
    main()
