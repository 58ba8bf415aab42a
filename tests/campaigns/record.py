"""What a campaign counts: a JSON line a case, which a later run does not do again, and a summary."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import clp_aug

ROOT = Path(clp_aug.__file__).resolve().parents[1]  # of the code that is run
Case = dict[str, Any]


class Record:
    """The cases of a campaign that are done, in a file of JSON lines; several processes may add to it.

    A case is a dictionary with "case", its name, "of", what it belongs to, and "verdict", or "counts" of the verdicts
    on many. The first line says of which code they are; those of other code are refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_suffix(".jsonl")
        self.summary = path.with_suffix(".json")
        self.done = {case["case"] for case in self.cases()}

    def begin(self) -> None:
        """Make the file, or check that it is of this code. Exits if it is not."""
        code = digest_of_code()
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"code": code}) + "\n")
        elif self.lines()[0].get("code") != code:
            sys.exit(f"{self.path}: of other code than that of now; choose another --out, or remove it")

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines that are whole: a killed process may have left half of one."""
        found = []
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def cases(self) -> list[Case]:
        """Return the cases that are done."""
        return [line for line in self.lines() if "case" in line]

    def add(self, case: Case) -> None:
        """Add a case, in one call, so that lines of several processes do not mix."""
        self.done.add(case["case"])
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, (json.dumps(case) + "\n").encode())
        finally:
            os.close(handle)

    def summarise(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write the counts of verdicts, in all and by what the cases belong to; return them."""
        cases = self.cases()
        by: dict[str, Counter[str]] = defaultdict(Counter)
        for case in cases:
            by[case["of"]].update(case.get("counts") or {case["verdict"]: 1})
        verdicts: Counter[str] = sum(by.values(), Counter())
        seconds = sum(case.get("seconds", 0) for case in cases)
        summary = {
            **about,
            "code": digest_of_code(),
            "cases": verdicts.total(),
            "seconds a case": round(seconds / max(1, verdicts.total()), 5),
            "verdicts": dict(verdicts.most_common()),
            "by": {name: dict(counts.most_common()) for name, counts in sorted(by.items())},
        }
        self.summary.write_text(json.dumps(summary, indent=1) + "\n")
        return summary


def digest_of_code() -> str:
    """Return the digest of the source files of both packages."""
    digest = hashlib.sha256()
    for package in ("clp_aug", "clp_train"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
