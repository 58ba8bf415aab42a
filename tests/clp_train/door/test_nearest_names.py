"""Unknown names of every kind: each message suggests the nearest name there is."""

import pytest
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.data_cli import data
from clp_aug.fit_cli import fit
from clp_aug.inspect_cli import inspect
from clp_train.audit_cli import audit
from clp_train.bench.cli import bench
from clp_train.cli import train
from clp_train.compare_cli import compare
from clp_train.predict_cli import predict

RUN = ["--meta", "x.h5", "--preset", "none"]
SHARD = ["--dataset", "demo", "--cf", "tile"]
CASES = [
    (train, ["--epoch", "3"], "'--epochs'"),
    (train, ["--batchsize", "3"], "'--batch-size'"),
    (train, ["--learning-rate", "3"], "'--lr'"),
    (train, [*RUN, "--method", "clpp"], "clp?"),
    (train, ["--meta", "x.h5", "--preset", "dem"], "demo?"),
    (train, [*RUN, "--model", "resnet9"], "resnet8?"),
    (train, [*RUN, "--model", "torchvison:resnet50"], "torchvision:NAME?"),
    (train, [*RUN, "--set", "trainble=head"], "trainable?"),
    (train, [*RUN, "--set", "trainable=heads"], "head?"),
    (train, [*RUN, "--set", "transform=pad-crop"], "pad-crop-flip?"),
    (train, [*RUN, "--schedule", "step"], "steps?"),
    (train, [*RUN, "--optimiser", "admw"], "adamw?"),
    (train, [*RUN, "--select", "worst-clas"], "worst-class?"),
    (train, [*RUN, "--precision", "bf61"], "bf16?"),
    (train, [*RUN, "--store", "mmory"], "memory?"),
    (train, [*RUN, "--export", "onx"], "onnx?"),
    (train, ["--list-settings", "clpp"], "clp?"),
    (augment, ["--datset", "demo"], "'--dataset'"),
    (augment, ["--dataset", "dmo", "--cf", "tile"], "demo?"),
    (augment, ["--dataset", "demo", "--cf", "tlie"], "tile?"),
    (augment, ["--dataset", "demo", "--f", "fgms"], "fgsm?"),
    (augment, [*SHARD, "--matte", "hat"], "hatt?"),
    (augment, [*SHARD, "--engine", "processs"], "processes?"),
    (augment, [*SHARD, "--fit", "strech"], "stretch?"),
    (augment, [*SHARD, "--boxes-several", "unoin"], "union?"),
    (augment, [*SHARD, "--set", "epsilom=0.1"], "epsilon?"),
    (augment, [*SHARD, "--noise", "unifrom:0.4"], "uniform?"),
    (augment, [*SHARD, "--meta", "10/clas"], "class?"),
    (augment, ["--dataset", "demo", "--audit", "tset"], "test?"),
    (augment, ["--dataset", "demo", "--audit", "--remove", "tlie"], "tile?"),
    (inspect, ["x.h5", "--htm", "x"], "'--html'"),
    (fit, ["mate"], "'matte'"),
    (fit, ["matte", "--step", "3"], "'--steps'"),
    (fit, ["matte", "--data", "x", "--out", "y.safetensors", "--precision", "tf23"], "tf32?"),
    (data, ["gtl"], "'glt'"),
    (data, ["waterbirds", "--bird", "x"], "'--birds'"),
    (audit, ["x", "--meta", "y", "--html-page", "z"], "'--html'"),
    (audit, ["data", "--datset", "demo"], "'--dataset'"),
    (predict, ["x", "y", "--devic", "cpu"], "'--device'"),
    (compare, ["x", "--outt", "y"], "'--out'"),
    (bench, ["tabel2"], "table2?"),
    (bench, ["table2", "--scale", "cpuu"], "cpu?"),
    (bench, ["table2", "--engine", "slrum-array"], "slurm-array?"),
    (bench, ["table2", "--methods", "meta-pl"], "meta-lp?"),
    (bench, ["table2", "--columns", "c10-1000"], "c10-100?"),
]


@pytest.mark.parametrize(("tool", "words", "nearest"), CASES, ids=[" ".join(words) for _, words, _ in CASES])
def test_the_nearest_name_is_suggested(tool, words, nearest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(tool, words)
    assert done.exit_code == 2, done.output
    assert f"id you mean {nearest}" in done.stderr
    assert len([line for line in done.stderr.splitlines() if "rror: " in line]) == 1
