"""Shares of a run become ranges of its epochs."""

import pytest

from clp_aug.contract.errors import SettingError, UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.stages import Stage, plan


@pytest.mark.parametrize("seed", range(60))
def test_the_ranges_cover_the_run_once_and_keep_the_shares(seed):
    rng = rng_for(seed, 0, "test stages")
    count, epochs = int(rng.integers(1, 6)), int(rng.integers(1, 40))
    shares = rng.dirichlet([1.0] * count).tolist() if seed % 2 else [1 / count] * count
    stages = [Stage(share=share) for share in shares]
    ends = [round(sum(shares[: i + 1]) * epochs) for i in range(count)]
    if any(stop <= start for start, stop in zip([0, *ends], ends, strict=False)):
        message = rf"epochs = {epochs}: the method has {count} stages and one of them would get none"
        with pytest.raises(SettingError, match=message):
            plan(stages, epochs, "all")
        return
    found = plan(stages, epochs, "all")
    assert [epoch for _, part in found for epoch in part] == list(range(epochs))
    assert [stage for stage, _ in found] == stages
    for stage, part in found:
        assert len(part) > 0
        assert abs(len(part) - stage.share * epochs) <= 1


def test_by_hand():
    stages = (Stage(share=0.5), Stage(share=0.3, stream="meta"), Stage(share=0.2, trainable="head"))
    found = plan(stages, 10, "all")
    assert [list(epochs) for _, epochs in found] == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    assert plan((Stage(),), 7, "all") == [(Stage(), range(7))]


def test_a_stage_without_epochs():
    with pytest.raises(SettingError) as error:
        plan((Stage(share=0.5), Stage(share=0.5)), 1, "all")
    assert str(error.value) == "epochs = 1: the method has 2 stages and one of them would get none; raise epochs"
    assert [list(epochs) for _, epochs in plan((Stage(share=0.5), Stage(share=0.5)), 2, "all")] == [[0], [1]]


def test_a_head_alone_narrows_every_stage():
    stages = (Stage(share=0.5, sampler="group"), Stage(share=0.5, stream="meta", fresh_head=True))
    assert [stage for stage, _ in plan(stages, 4, "head")] == [
        Stage(share=0.5, sampler="group", trainable="head"),
        Stage(share=0.5, stream="meta", trainable="head", fresh_head=True),
    ]
    assert [stage for stage, _ in plan((Stage(trainable="head"),), 1, "all")] == [Stage(trainable="head")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stream": "val"}, "unknown stream 'val': choose one of both, meta, train"),
        ({"trainable": "tail"}, "unknown trainable 'tail': choose one of all, head"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unknown_names_list_the_valid_ones(wrong, message):
    with pytest.raises(UsageError) as error:
        Stage(**wrong)
    assert str(error.value) == message
