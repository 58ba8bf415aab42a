"""A small table and its results, which several tests share."""

from clp_train.bench.spec import Column, Row, Scale, Table


def table(**rows):
    cpu = Scale(("--dataset", "demo"), ("--epochs", "2"))
    columns = {"a": Column("A", cpu=cpu), "b": Column("B", "worst", shared="a"), "c": Column("C", paper=cpu)}
    return Table("t", "T", columns, rows or {"ce": Row("CE", "erm"), "clp": Row("CLP", "clp", own=("--lr", "1"))})


def result(row, seed, average, worst=0.5, protocol="common", selected=None, seconds=10.0):
    metrics = {"last": {"test": {"average": average, "worst": worst}}, "selected": {}, "best_on_test": {}}
    if selected is not None:
        metrics["selected"] = {"test": {"average": selected, "worst": worst}}
    return {"row": row, "column": "a", "seed": seed, "protocol": protocol, "metrics": metrics, "seconds": 3 * seconds,
            "cpu_seconds": seconds, "train": [],
            "epochs": 5}  # fmt: skip


RESULTS = [
    *(result("ce", seed, 0.7 + 0.01 * seed) for seed in range(3)),
    *(result("la", seed, 0.8 + 0.02 * seed, 0.6, seconds=20.0) for seed in range(3)),
    *(result("clp", seed, value, 0.6, seconds=55.0) for seed, value in enumerate((0.87, 0.9, 0.91))),
    result("clp", 0, 0.95, protocol="own"),
]
