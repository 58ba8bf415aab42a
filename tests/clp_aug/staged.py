"""What the tests of an unfinished run share: one of random pictures, its blocks, and ways to damage them."""

import h5py

from clp_aug.contract.blank import lay_out
from clp_aug.contract.schema import FIELDS
from clp_aug.staging import Staging
from tests.clp_aug.builders import make_parts

PARTS = make_parts()
SIZES = {"N": 12, "M": 6, "K": 4, "H": 8, "W": 10}
BLOCKS = {  # what a run's blocks fill
    "infill-000000": {"meta/images": (0, 6), "meta/fill": (0, 6)},
    "infill-000001": {"meta/images": (6, 12), "meta/fill": (6, 12)},
    "boxes-meta-000000": {"look/matte": (0, 4), "meta/box": (0, 12)},
}
PICTURES = {"cat/1.jpg": "a1", "cat/2.jpg": "b2"}


def staging(tmp_path, **key):
    """Return where a run that writes tmp_path/out/x.h5 goes on from; key: its settings."""
    return Staging(tmp_path / "out" / "x.h5", {"seed": 0, **key})


def begin(one):
    """Lay a file out, as a run does, and let the folder be gone on with."""
    lay_out(one.blank.path, PARTS.header, FIELDS, SIZES)
    for name, table in PARTS.tables.items():
        one.fill(name, 0, table)
    one.begin()


def do(one, block):
    """Fill the pictures of a block and mark it."""
    for name, (start, stop) in BLOCKS[block].items():
        if name == "meta/images":
            one.fill(name, start, PARTS.images[start:stop])
        elif name == "look/matte":
            one.fill(name, start, PARTS.mattes[start:stop])
    one.mark(block, BLOCKS[block], PICTURES)


def begun(tmp_path, *blocks):
    """Return a run that has finished some blocks."""
    one = staging(tmp_path)
    assert one.open(resume=False, overwrite=False), "a new run"
    begin(one)
    for block in blocks:
        do(one, block)
    return one


def has(one, block, pictures=PICTURES):
    """Whether a block is finished, with its pictures as they are now."""
    return one.has(block, BLOCKS[block], lambda: pictures)


def names(folder):
    """Return what lies in a folder, in the order of the names."""
    return sorted(path.name for path in folder.iterdir())


def lose(name, rows):
    """Return what puts zeros where a power cut has lost what was written, behind HDF5's back."""

    def change(one):
        with h5py.File(one.blank.path, "r+") as file:
            file[name][rows] = 0

    return change


def flipped_bit(one):
    """Flip one bit of a picture of the first block."""
    data = bytearray(one.blank.path.read_bytes())
    data[data.find(PARTS.images[2].tobytes()) + 5] ^= 4
    one.blank.path.write_bytes(data)
