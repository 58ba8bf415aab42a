from clp_aug.config import AugmentConfig as AugmentConfig
from clp_aug.contract.boxes import Box as Box
from clp_aug.contract.seeds import rng_for as rng_for
from clp_aug.contract.shards import ShardReader as ShardReader
from clp_aug.contract.validate import check_shard as check_shard
from clp_aug.datasets import load_dataset as load_dataset
from clp_aug.datasets.arrays import from_arrays as from_arrays
from clp_aug.datasets.arrays import from_torch as from_torch
from clp_aug.fills import FILLS as FILLS
from clp_aug.fills import infill as infill
from clp_aug.fills.scene import Materials as Materials
from clp_aug.fills.scene import Scene as Scene
from clp_aug.library import fill as fill
from clp_aug.library import find_boxes as find_boxes
from clp_aug.library import open_shard as open_shard
from clp_aug.pipeline import augment as augment
from clp_aug.protocol.settings import ProtocolSettings as ProtocolSettings
from clp_aug.protocol.split import make_split as make_split

__version__: str
