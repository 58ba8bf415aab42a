"""Jobs of a moment, which several tests of queues share. As a program it is a queue of its own on a Ray cluster.

python -m tests.clp_train.bench.small_jobs ADDRESS FOLDER SECONDS NAME ...
"""

import json
import sys
from pathlib import Path

from clp_aug.common.locks import lock_of
from clp_train.bench.job import Job

SLOW = """
import os, pathlib, time
from clp_aug.common.locks import held_for
lock = held_for(pathlib.Path(made))
lock.__enter__()
open(made + ".pid", "w").write(str(os.getpid()))
time.sleep({seconds})
"""


def job(folder, name, code="", needs=()):
    """A process that runs code, then adds an x to the file of its name. In it, `made` is that file's path."""
    made = folder / name
    lines = f"import sys; made = sys.argv[1]\n{code}\nopen(made, 'a').write('x')"
    command = (sys.executable, "-c", lines, str(made))
    return Job(name, command, made, folder / f"{name}.log", lock_of(made), tuple(needs))


def slow(folder, name, seconds):
    """A job that holds the lock of what it makes, as our commands do; NAME.pid tells its process."""
    return job(folder, name, SLOW.format(seconds=seconds))


def litter(folder):
    """Return what a queue may leave behind."""
    return [path.name for path in folder.iterdir() if path.name.endswith((".lock", ".log"))]


def queue_on_ray(address, folder, seconds, *names):
    """Work off slow jobs on a cluster, and print what failed."""
    from clp_train.bench.on_ray import cluster
    from clp_train.bench.queue import work_off_at

    jobs = [slow(Path(folder), name, seconds) for name in names]
    with cluster(address, None, 1, 0.0, None, Path(folder)) as place:
        print(json.dumps(work_off_at(place, jobs).failed))


if __name__ == "__main__":
    queue_on_ray(*sys.argv[1:])
