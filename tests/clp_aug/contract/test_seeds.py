import numpy as np

from clp_aug.contract.seeds import rng_for


def test_equal_keys_give_equal_streams_and_others_do_not():
    def draw(*key):
        return rng_for(*key).integers(1 << 62, size=4).tolist()

    keys = [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 2**40, "a")]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)
    assert all(draw(*key) == draw(*key) for key in keys)


def test_the_global_generator_is_not_touched():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    rng_for(0, 0, "x").random(100)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_streams_stay_what_they_are():
    """A change here changes every shard: raise the schema version with it."""
    assert rng_for(0, 7, "tile/0").integers(1000, size=3).tolist() == [247, 507, 920]
