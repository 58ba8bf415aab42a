"""The plan for large sets: the page agrees with the results, the simulation with closed forms and a slow oracle."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clp_aug.contract.seeds import rng_for
from experiments.common.blocks import with_blocks
from experiments.scale import offline, page, plan, simulate, tables, training
from experiments.scale.asking import asked
from experiments.scale.cluster import Cluster, Run, lognormal
from experiments.scale.cluster import simulate as simulated
from experiments.scale.made import HEIGHT, WIDTH, scene
from experiments.scale.measure import MEASURED, NETS, PARTS, SIZES
from experiments.scale.plan import JOBS, MACHINES, ONE, Plan

MANY = 150  # random clusters
CALM = Cluster(pictures=1000, block=10, seconds=0.5, workers=8, per_node=4, start=3.0)


def rng(seed: int = 0) -> np.random.Generator:
    return rng_for(seed, 0, "test")


def drawn(seed: int) -> Cluster:
    """A small cluster on which everything happens that can."""
    draw = rng(seed)
    ahead = int(draw.integers(1, 4))
    return Cluster(
        pictures=int(draw.integers(1, 400)), block=int(draw.integers(1, 20)), seconds=float(draw.uniform(0.1, 2)),
        workers=int(draw.integers(1, 12)), per_node=int(draw.integers(1, 5)), spread=float(draw.uniform(0, 1)),
        slow=float(draw.uniform(0, 0.5)), times=float(draw.uniform(1, 5)), deaths=float(draw.choice([0, 5, 60])),
        back=float(draw.uniform(1, 50)), start=float(draw.uniform(0, 5)), ahead=ahead,
        window=ahead + int(draw.integers(0, 3)), ordered=bool(draw.integers(2)), size=1.0,
        rate=float(draw.choice([1.0, 50.0, math.inf])), call=float(draw.uniform(0, 0.5)),
    )  # fmt: skip


# the page


def test_the_page_holds_what_the_results_say():
    assert not page.is_stale(), "run: python -m experiments.scale.page"


def test_every_block_of_the_page_is_there():
    text = page.PAGE.read_text("utf-8")
    missing = [name for name in page.BLOCKS if f"<!-- {name}: made by {page.MAKER} -->" not in text]
    assert not missing


def test_a_stale_figure_is_seen(tmp_path):
    text = page.PAGE.read_text("utf-8")
    block = "\n".join(tables.stages())
    other = tmp_path / "scale.md"
    other.write_text(text.replace(block, block.replace("0", "9")), "utf-8")
    assert page.is_stale(other)
    assert with_blocks(other.read_text("utf-8"), page.BLOCKS, page.MAKER) == text


def test_check_says_what_to_run(tmp_path, monkeypatch):
    other = tmp_path / "scale.md"
    block = "\n".join(tables.stages())
    other.write_text(page.PAGE.read_text("utf-8").replace(block, block.replace("0", "9")), "utf-8")
    monkeypatch.setattr(page, "PAGE", other)
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    with pytest.raises(SystemExit, match=r"scale\.md: other figures .* python -m experiments\.scale\.page writes them"):
        page.main()


# the simulation


@pytest.mark.parametrize(("blocks", "workers"), [(1, 1), (7, 1), (8, 8), (9, 8), (100, 8), (5, 8)])
@pytest.mark.parametrize(("ahead", "window", "ordered"), [(1, 1, True), (2, 3, True), (2, 2, False)])
def test_without_anything_in_its_way_it_takes_whole_rounds(blocks, workers, ahead, window, ordered):
    calm = replace(CALM, pictures=10 * blocks, workers=workers, ahead=ahead, window=window, ordered=ordered)
    assert simulated(calm, rng()).makespan == pytest.approx(3 + math.ceil(blocks / workers) * 5)


def test_the_last_block_may_be_smaller():
    assert simulated(replace(CALM, pictures=81, workers=1), rng()).makespan == pytest.approx(3 + 81 * 0.5)


def test_a_driver_that_is_slower_than_the_workers_decides():
    slow = replace(CALM, size=1.0, rate=2.0, call=1.0)  # 6 s a block, which the workers make in 5 / 8
    assert simulated(slow, rng()).makespan == pytest.approx(3 + 5 + 100 * 6)


@pytest.mark.parametrize("seed", range(MANY))
def test_every_block_is_written_and_no_bound_is_broken(seed):
    cluster = drawn(seed)
    run = Run(cluster, rng(seed))
    outcome = run.go()
    assert run.written == run.fresh == cluster.blocks
    assert not run.done
    assert not run.again
    assert outcome.waiting <= cluster.window * cluster.workers
    assert outcome.again <= outcome.deaths * cluster.ahead * cluster.per_node
    driver = cluster.blocks * cluster.call + cluster.pictures * cluster.size / cluster.rate
    assert outcome.makespan >= cluster.start + driver - 1e-6
    assert (outcome.lost > 0) <= (outcome.deaths > 0)


@pytest.mark.parametrize("seed", range(MANY))
def test_it_is_the_greedy_schedule_of_a_slow_oracle(seed):
    draw = rng(seed)
    cluster = replace(
        CALM, pictures=int(draw.integers(1, 500)), workers=int(draw.integers(1, 12)), ahead=1, window=1000,
        slow=float(draw.uniform(0, 1)), times=float(draw.uniform(1, 5)),
    )  # fmt: skip
    run = Run(cluster, rng(seed))
    free = [cluster.start] * cluster.workers
    for block in range(cluster.blocks):
        first = min(range(cluster.workers), key=lambda i: free[i])
        pictures = min(cluster.block, cluster.pictures - block * cluster.block)
        free[first] += pictures * cluster.seconds * run.workers[first].times
    assert run.go().makespan == pytest.approx(max(free))


@pytest.mark.parametrize("seconds", [3.0 + 2.5, 3.0 + 7.0, 3.0 + 14.9])
def test_a_dying_node_costs_what_was_in_its_hands(seconds):
    run = Run(CALM, rng())
    run.after(seconds, run.die, 0)
    outcome = run.go()
    assert outcome.deaths == 1
    assert outcome.lost == pytest.approx(CALM.per_node * ((seconds - CALM.start) % 5))
    assert outcome.again == CALM.ahead * CALM.per_node
    calm = simulated(CALM, rng()).makespan
    work = CALM.blocks * 5 + outcome.lost
    assert calm < outcome.makespan <= CALM.start + work / (CALM.workers - CALM.per_node) + 5


def test_in_order_a_slow_worker_holds_up_all_unless_the_window_is_wide():
    slow = replace(CALM, pictures=100_000, workers=100, per_node=10, slow=0.02, times=4.0, start=0.0)
    narrow, wide, free = (
        simulated(replace(slow, **how), rng()).makespan / slow.ideal
        for how in ({"ahead": 2, "window": 2}, {"ahead": 2, "window": 9}, {"ahead": 2, "window": 2, "ordered": False})
    )
    assert narrow > 2.5  # most of what the slow ones are
    assert wide < 1.2
    assert free < 1.2


def test_a_lognormal_number_has_mean_one_and_the_spread_that_was_asked_for():
    draw = rng()
    values = np.array([lognormal(draw, 0.5) for _ in range(20_000)])
    assert values.mean() == pytest.approx(1, abs=0.02)
    assert values.std() == pytest.approx(0.5, abs=0.02)
    assert lognormal(draw, 0.0) == 1.0


def test_equal_seeds_give_equal_runs_and_others_do_not():
    cluster = replace(CALM, spread=0.3, deaths=60.0)
    assert simulated(cluster, rng(1)) == simulated(cluster, rng(1)) != simulated(cluster, rng(2))


@pytest.mark.parametrize("job", simulate.STAGES)
def test_the_recorded_simulation_is_of_the_recorded_measurements_and_repeats(job):
    recorded = tables.read(simulate.SIMULATED)["jobs"][job]
    cluster = simulate.base(job, tables.read(MEASURED))
    assert json.loads(json.dumps(simulate.as_json(cluster))) == recorded["cluster"]
    largest = max(simulate.BLOCKS)
    assert simulate.row_of(replace(cluster, block=largest)) == recorded["tables"]["block"][str(largest)]
    assert recorded["tables"].keys() == simulate.variants(job, cluster).keys()


def test_the_bounds_are_those_of_the_engine():
    engine = pytest.importorskip("clp_aug.engines.ray_crew", reason="the engine ray is not there")
    assert (simulate.SLOTS, simulate.WINDOW) == (engine.SLOTS, engine.AHEAD)


# the plan


def test_one_core_takes_what_was_measured_times_the_pictures():
    measured = tables.read(MEASURED)
    glt = next(job for job in JOBS if job.name == "ImageNet-GLT")
    hours, costs = Plan(glt, measured).hours(ONE), measured["parts"]["offline 224"]["costs"]
    a_picture = sum(costs[stage]["ms"] for stage in ("READ", "DIGEST", "MATTE hatt", "BOX"))
    assert hours["READ, MATTE, BOX"] == pytest.approx(116_000 * a_picture / 3_600_000)
    step = measured["parts"]["training resnet50"]["steps"]["CLP exact"]["ms"]
    assert hours["CLP exact"] == pytest.approx(116_000 * 100 * step / 3_600_000)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_more_of_a_machine_is_never_slower_but_for_what_one_process_does(job):
    one, sixteen, gpu, gpus, ray = (Plan(job, tables.read(MEASURED)).hours(machine) for machine in MACHINES)
    for stage in one:
        assert sixteen[stage] <= one[stage]
        assert ray[stage] <= (one if stage == "SHARD" else sixteen)[stage]
    for stage in ("READ, MATTE, BOX", "INFILL", "CLP exact"):
        assert gpu[stage] < one[stage]
    assert gpus["READ, MATTE, BOX"] <= gpu["READ, MATTE, BOX"]


def test_a_step_on_a_device_takes_the_longer_of_computing_and_calling():
    net = {"batch": 10, "parameters": 25, "asked": {"CLP exact": {"flops a picture": 1, "calls": 1000}}}
    job = JOBS[0]._replace(batch=10)
    one, eight = MACHINES[2], MACHINES[3]
    made = Plan(job, {})
    assert made.step(one, net, "CLP exact") == pytest.approx(1000 * 1000 * plan.GPU.call / 10)
    net["asked"]["CLP exact"] = {"flops a picture": int(plan.GPU.rate()), "calls": 1}  # a second a picture
    assert made.step(one, net, "CLP exact") == pytest.approx(1000)
    exchanged = 1000 * plan.AVERAGES * 2 * 4 * 25 / plan.GPU.link / 10
    assert made.step(eight, net, "CLP exact") == pytest.approx(1000 / 8 + exchanged)


def test_only_what_one_core_does_is_shown_as_measured():
    cells = tables.in_hours([1.0] * len(MACHINES))
    assert [cell.startswith(tables.DERIVED) for cell in cells] == [machine != ONE for machine in MACHINES]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0001, "0"), (0.0123, "0.012"), (1.0, "1.0"), (12.4, "12"), (1234.0, "1,200")]
)
def test_hours_as_text(value, text):
    assert tables.short(value) == text


@pytest.mark.parametrize(("value", "text"), [(512, "0.51 kB"), (3.2e6, "3.2 MB"), (5e9, "5.0 GB"), (5.8e13, "58 TB")])
def test_bytes_as_text(value, text):
    assert tables.in_bytes(value) == text


# the measurements


def test_what_is_asked_is_counted_with_and_without_gradients():
    layer, x = torch.nn.Linear(30, 20), torch.ones(10, 30)
    forward = 2 * 10 * 30 * 20
    assert asked(lambda: layer(x), 10) == {"flops a picture": forward // 10, "calls": 1}
    assert asked(lambda: layer(x).sum().backward())["flops a picture"] == 2 * forward
    with torch.inference_mode():
        assert asked(lambda: layer(x))["flops a picture"] == forward
        conv = torch.nn.Conv2d(3, 5, 3)
        assert asked(lambda: conv(torch.ones(1, 3, 8, 8)))["flops a picture"] == 2 * 5 * 6 * 6 * 27


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_gradients_of_a_convolution_take_twice_its_operations(groups):
    conv, x = torch.nn.Conv2d(6, 6, 3, groups=groups), torch.ones(2, 6, 8, 8, requires_grad=True)
    assert asked(lambda: conv(x).sum().backward())["flops a picture"] == 3 * 2 * 2 * 6 * 36 * (6 // groups) * 9


def test_every_part_was_measured():
    parts = tables.read(MEASURED)["parts"]
    assert list(parts) == list(PARTS)
    assert {parts[f"offline {size}"]["size"] for size in SIZES} == set(SIZES)
    assert tuple(training.NETS) == NETS


def test_a_made_picture_has_its_object_in_its_box():
    for number in range(4):
        picture, (x0, y0, x1, y1) = scene(number)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert 0 <= x0 < x1 <= WIDTH
        assert 0 <= y0 < y1 <= HEIGHT
    assert not np.array_equal(scene(0)[0], scene(2)[0])


def test_the_stages_of_a_small_set_are_measured(tmp_path, monkeypatch):
    for name, value in {"FEW": 2, "SEVERAL": 4, "MANY": 24, "ORIGINALS": 12}.items():
        monkeypatch.setattr(offline, name, value)
    found = offline.measure(tmp_path, 48)
    recorded = tables.read(MEASURED)["parts"]["offline 224"]
    assert found.keys() == recorded.keys()
    assert found["costs"].keys() == recorded["costs"].keys()
    assert found["bytes"].keys() == recorded["bytes"].keys()
    assert found["bytes"]["cache"] == 3 * 48**2
    assert found["bytes"]["sent back, copies"] > 3 * 3 * 48**2
    assert found["asked"]["MATTE hatt"]["flops a picture"] == recorded["asked"]["MATTE hatt"]["flops a picture"]


@pytest.mark.parametrize("net", [training.HEAD, "small"])
def test_steps_are_measured(net, monkeypatch):
    monkeypatch.setitem(training.NETS, "small", training.Net("resnet8", 16, 6, 1))
    monkeypatch.setitem(training.NETS, training.HEAD, training.Net("", 1, 20, 1))
    found = training.measure_training(net)
    assert found["steps"].keys() == found["asked"].keys()
    assert found["asked"]["CLP exact, no saliency"]["flops a picture"] > 2 * found["asked"]["plain"]["flops a picture"]
    assert all(len(cost["rounds"]) == 3 for cost in found["steps"].values())
