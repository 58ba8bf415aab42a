"""A `sitecustomize` that lets Python on Linux refuse what Windows refuses, in every process that a test starts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

WINDOWS = '''
import errno, os, shutil, sys, warnings

for name in ("fcntl", "resource"):  # modules that are not there
    sys.modules[name] = None
for name in ("pread", "pwrite", "posix_fallocate", "sched_getaffinity"):
    delattr(os, name)
shutil._use_fd_functions = False  # there folders are removed without handles on them
shutil.rmtree.avoids_symlink_attacks = False
warnings.simplefilter("ignore", EncodingWarning)  # of others
warnings.filterwarnings("error", category=EncodingWarning, module="clp_")  # text without a named encoding is cp1252
warnings.filterwarnings("ignore", "only soft file lock")  # filelock has another lock on Windows

opened, replaced, unlinked = os.open, os.replace, os.unlink


def refuse(path):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))


def open_file(path, *more, **named):
    """No folder can be opened."""
    return refuse(path) if not isinstance(path, int) and os.path.isdir(path) else opened(path, *more, **named)


def is_open(path):
    """Whether this process has a file open, or mapped into memory."""
    try:
        place = os.stat(path)
    except OSError:
        return False
    for handle in os.listdir("/proc/self/fd"):
        try:
            if os.path.samestat(os.fstat(int(handle)), place):
                return True
        except (OSError, ValueError):
            pass
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return any(line.rstrip().endswith(os.path.abspath(path)) for line in maps)


def replace(source, target, **named):
    """No file that is open can be moved or replaced."""
    for path in (source, target):
        if os.path.isfile(path) and is_open(path):
            refuse(path)
    return replaced(source, target, **named)


def unlink(path, **named):
    """No file that is open can be removed."""
    return refuse(path) if not named and os.path.isfile(path) and is_open(path) else unlinked(path, **named)


os.open, os.replace, os.rename, os.unlink, os.remove = open_file, replace, replace, unlink, unlink
'''


def variables(folder: Path, sitecustomize: str = WINDOWS) -> dict[str, str]:
    """Return the variables of processes in which a `sitecustomize`, written into `folder`, runs first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(sitecustomize, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONWARNDEFAULTENCODING": "1",
        "OMP_NUM_THREADS": "1",
    }


def call(module: str, command: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a folder; return what it printed on stdout. Fails where it fails, or warns."""
    code = f"from {module} import {command}; {command}()"
    words = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, f"{command} {arguments}: {done.stdout}{done.stderr}"
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout
