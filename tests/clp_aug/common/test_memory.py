import ctypes
import platform
import subprocess
import sys

import pytest

from clp_aug.common import memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library is not glibc")
def test_large_blocks_stay_with_the_process():
    """In a process of its own: a freed block of 64 MB is still resident."""
    script = (
        "import re, numpy as np\nfrom clp_aug.common.memory import keep_freed_memory\n"
        "def resident(): return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "assert keep_freed_memory()\nblock = np.ones(64 << 20, np.uint8)\nbefore = resident()\ndel block\n"
        "print(before - resident())"
    )
    freed = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert freed < 1000


def test_elsewhere_it_does_nothing(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
