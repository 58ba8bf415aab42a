"""Stages with networks on an accelerator: only this process opens it and works on pictures in batches; the workers
decode the next ones meanwhile. The results equal those of `Stages`, up to the device's rounding.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from clp_aug.auditing.mixing import Made
from clp_aug.contract.schema import NO_FILL
from clp_aug.engines import Map, quiet_threads
from clp_aug.fills import infill_all
from clp_aug.fills.scene import Scene
from clp_aug.mattes.chain import Located, locate_all
from clp_aug.mattes.picture import Decoded
from clp_aug.nets.threads import batches, most_in_a_batch
from clp_aug.sharding import Copy
from clp_aug.stages import Block, Decode, Stages

Batch = tuple[list[np.ndarray], dict[str, str]]
"""Pictures, uint8 (size, size, 3), and the digests of their files by name."""


def on_device(stages: Stages, work: Map, blocks: Sequence[Block], ahead: int) -> Iterator[int]:
    """Do the blocks of one stage in this process; yield the number of pictures of each. Finished blocks are skipped.
    ahead: batches that are decoded before they are needed.
    """
    quiet_threads()
    finished = {block.name for block in blocks if stages.has(block)}
    wanted = {block.name: batches_of(stages, block) for block in blocks if block.name not in finished}
    decoded = read_ahead(work, (batch for some in wanted.values() for batch in some), ahead)
    for block in blocks:
        if block.name not in finished:
            of_block = islice(decoded, len(wanted[block.name]))
            digests = fill(stages, block, of_block) if block.stage == "infill" else box(stages, work, block, of_block)
            stages.mark(block, digests)
        yield block.stop - block.start


def batches_of(stages: Stages, block: Block) -> list[Decode]:
    """Return a block's pictures as batches for the workers to decode."""
    rows, most = stages.originals(block), most_in_a_batch(stages.size**2)
    return [Decode(rows[part.start : part.stop], block.stage != "infill") for part in batches(len(rows), most)]


def read_ahead(work: Map, wanted: Iterable[Decode], ahead: int) -> Iterator[Batch]:
    """Yield the decoded batches of the workers, in order; at most `ahead` batches wait, so memory stays constant."""
    waiting: deque[Iterator[Batch]] = deque()
    for batch in wanted:
        waiting.append(work([batch]))
        if len(waiting) > ahead:
            yield next(waiting.popleft())
    for batches_left in waiting:
        yield next(batches_left)


def box(stages: Stages, work: Map, block: Block, decoded: Iterable[Batch]) -> dict[str, str]:
    """MATTE and BOX for a block; return the digests of its pictures. Workers refine mattes meanwhile."""
    rows, digests = iter(stages.originals(block).tolist()), dict[str, str]()
    located, refined = list[Located](), list[Iterator[np.ndarray]]()
    sample_id = stages.dataset.samples.sample_id
    for images, some in decoded:
        pictures = [Decoded(image, int(sample_id[row])) for image, row in zip(images, rows, strict=False)]
        found = locate_all(pictures, stages.chain, stages.config.pad)
        refined.append(work(stages.to_refine(block, found, len(located))))
        located += found
        digests |= some
    stages.write_boxes(block, located, [matte for some_mattes in refined for matte in some_mattes])
    return digests


def fill(stages: Stages, block: Block, decoded: Iterable[Batch]) -> dict[str, str]:
    """INFILL for a block; return no digests, because the pictures' digests are stored with their boxes."""
    views, first = list[Made](), block.start
    for originals, _ in decoded:
        scenes = {i: stages.scene_of(i, image) for i, image in enumerate(originals, first)}
        made = copies_of(stages, scenes)
        for i, scene in scenes.items():
            views += [Made(scene.image, NO_FILL), *(made[i, copy] for copy in stages.copies[i])]
        first += len(originals)
    stages.write_copies(block, views)
    return {}


def copies_of(stages: Stages, scenes: dict[int, Scene]) -> dict[tuple[int, Copy], Made]:
    """Return every copy of some originals; those of one fill are made together, except views of an audit.

    scenes: by the originals' numbers.
    """
    together: dict[tuple[str, int], list[tuple[int, Copy]]] = defaultdict(list)
    made = dict[tuple[int, Copy], Made]()
    for i, scene in scenes.items():
        for copy in stages.copies[i]:
            if stages.mixer is not None and stages.mixer.makes(copy):
                made[i, copy] = stages.copy_of(i, scene, copy)
            else:
                together[copy.fill, copy.kind].append((i, copy))
    for (name, kind), asked in together.items():
        rngs = [stages.rng(i, copy) for i, copy in asked]
        options = stages.config.fill_options.get(name)
        copies = infill_all(name, kind, [scenes[i] for i, _ in asked], rngs, stages.materials, options)
        made |= {one: Made(*filled) for one, filled in zip(asked, copies, strict=True)}
    return made
