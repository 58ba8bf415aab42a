"""Does the background start help a network that learns as a whole? waterbirds_like at 96 px, judged on val pictures.

    python -m experiments.waterbirds.search_waterbirds_tuned --data DIR --work DIR [--seeds 0 1 2] [--rows PART ...]
        [--size 96]

Hypotheses, each with the rows that could refute it:
1. the preset's constant step (1e-3, the head's 1e-2) is what makes runs waver: with a tenth of it that falls, every
   method is steadier, and the background start better;
2. the body learns what the start's linear classifier does not know of the background: the slower it learns, the
   nearer the worst group is to that of a head alone;
3. what is left is the start's weakness, not the network's: methods that know the groups do better at the same steps;
4. the meta step adds something where the start knows too little;
5. where it knows too little, more of it helps;
6. how much of it is best, the meta step finds;
7. at 96 px the start and the body see too little: at 224 px (--size 224, with an --out of its own) they are as good as
   a head alone;
8. four epochs are too few there: twice as many are better.

DIR of --data holds waterbirds_like/. Written after every run, so that it can be stopped and started again.
"""

from __future__ import annotations

from experiments.common.searching import Row, arguments_of, search
from experiments.waterbirds.search_waterbirds import RESULTS, START, shard_of, watching_the_share

PRESET = "waterbirds-cpu"
COMMON = ("lr=1e-3", "head_lr=1e-2", "schedule=constant")
TENTH = ("lr=1e-4", "head_lr=1e-3", "schedule=cosine")
SLOW = ("lr=1e-5", "head_lr=1e-3", "schedule=cosine")
SLOWER = ("lr=1e-6", "head_lr=1e-3", "schedule=cosine")
PLAIN = ("omega_start=zero",)

ROWS = {
    "1: ERM, common": Row("erm", COMMON),
    "1: ERM, a tenth": Row("erm", TENTH),
    "1: background start, common": Row("background-adjust", COMMON),
    "1: background start, a tenth": Row("background-adjust", TENTH),
    "2: background start, slow body": Row("background-adjust", SLOW),
    "2: background start, slower body": Row("background-adjust", SLOWER),
    "2: ERM, slow body": Row("erm", SLOW),
    "3: GroupDRO, a tenth": Row("group-dro", TENTH),
    "3: GroupDRO, slow body": Row("group-dro", SLOW),
    "4: CLP, a tenth": Row("clp", (START, "omega_lr=3e-4", *TENTH)),
    "4: CLP, slow body": Row("clp", (START, "omega_lr=3e-4", *SLOW)),
    "4: CLP from zero, slow body": Row("clp", (*PLAIN, *SLOW)),
    "4: Meta-LP, slow body": Row("meta-lp", (START, "omega_lr=3e-4", *SLOW)),
    "5: one and a half of the start": Row("background-adjust", ("tau=1.5", *TENTH)),
    "6: CLP, share learnt": Row(
        "clp", (START, "omega_lr=3e-4", "background_step=3e-2", "saliency_lambda=0", *TENTH), watching_the_share
    ),
    "8: background start, a tenth, twice the epochs": Row("background-adjust", ("epochs=8", *TENTH)),
    "8: background start, three tenths, twice the epochs": Row(
        "background-adjust", ("epochs=8", "lr=3e-4", "head_lr=3e-3", "schedule=cosine")
    ),
}


def main() -> None:
    """Make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, RESULTS / "search_waterbirds_tuned.json", size=96)
    root = str(arguments.data / "waterbirds_like")
    search(ROWS, arguments, PRESET, {"root": root}, lambda seed: shard_of(arguments, root, seed))


if __name__ == "__main__":
    main()
