"""READ: the tar files of `wds:train-{0000..0099}.tar,val=more/val-*.tar`, and the split of each.

    wds                      wds:*.tar,*/*.tar
    wds:[SPLIT=]PATTERN,...  {0000..0099} and {a,b} as in bash, * ? [abc] as in a shell

Source of braces: the GNU bash manual, "Brace Expansion".
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError, SettingError, UsageError, suggestion
from clp_aug.datasets.base import SPLITS
from clp_aug.datasets.class_folders import OTHER_SPELLINGS
from clp_aug.datasets.names import check_names, is_file, is_folder, leads_out, short_path, shown, some

NAME = "wds"
EVERYTHING = ("*.tar", "*/*.tar")
EXAMPLE = "wds:train-{0000..0099}.tar,val=more/val-*.tar"
FOLDERS = {**{name: name for name in SPLITS}, **OTHER_SPELLINGS}  # words in lower case -> split
OTHER_TEST = re.compile(r"test[_-][A-Za-z0-9_-]{1,40}")
MOST_TARS = 100_000
RANGE = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})(?:\.\.(-?\d{1,9}))?")
NAMED = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
ELSEWHERE = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
PACKED = (".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".zip")
SPECIAL = "*?["
LABEL_LETTERS = 40
LONGEST, MOST_SIGNS = 4096, 30


@dataclass(frozen=True)
class Pattern:
    """One pattern of a name. split: given by the user, or ""; text: as in the name; paths: the expanded braces, in
    their order, relative to the root.
    """

    split: str
    text: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Tar:
    """One tar file. name: below the root; split: from the user, else from its name or folder, "" if unknown."""

    name: str
    split: str


def parse(name: str) -> list[Pattern]:
    """Return the patterns of a data set's name. Raises UsageError, with an example, for a malformed name."""
    if name == NAME:
        return [Pattern("", text, (text,)) for text in EVERYTHING]
    signs = sum(map(name.count, "{" + SPECIAL))
    if len(name) > LONGEST or signs > MOST_SIGNS:
        raise refused(name, f"a name of {len(name):,} letters with {signs:,} braces and signs {' '.join(SPECIAL)};"
                            f" expected at most {LONGEST:,} and {MOST_SIGNS}")  # fmt: skip
    parts = list(top_level(name.partition(":")[2]))
    patterns = [pattern_of(name, part.strip()) for part in parts]
    if sum(len(pattern.paths) for pattern in patterns) > MOST_TARS:
        raise refused(name, f"it means more than {MOST_TARS:,} files; expected fewer, larger ones")
    return patterns


def refused(name: str, reason: str) -> UsageError:
    """Return the error for a malformed name."""
    return UsageError(f"data set {shown(name)}: {reason}")


def pattern_of(name: str, part: str) -> Pattern:
    """Return one pattern of a name. Raises UsageError for a malformed pattern."""
    found = NAMED.fullmatch(part)
    split, text = (split_of(name, found[1]), found[2].strip()) if found else ("", part)
    if not text:
        raise refused(name, f"a pattern is empty; expected tar files, for example {EXAMPLE}")
    elsewhere = ELSEWHERE.match(text)
    if elsewhere and len(elsewhere[1]) > 1:
        raise refused(name, f"{shown(text)} is no file; copy the tar files to a disk and give their folder with --root")
    if text.lower().endswith(PACKED):
        raise refused(name, f"{shown(text)} is compressed, but pictures are read at any place in a file; unpack it to"
                            " plain tar files (gunzip, unxz, zstd -d)")  # fmt: skip
    text = text.replace("\\", "/") if os.name == "nt" else text
    if leads_out(text):
        fixed = fixed_folder(text)
        reason = "it leads out of its root, and shards store no paths of a machine"
        take = {"root": fixed or "."} if Path(text).is_absolute() else {}
        raise SettingError("dataset", name, f"{reason}; expected a pattern below --root", take)
    paths = tuple(PurePosixPath(path).as_posix() for path in expanded(name, text))
    return Pattern(split, text, paths)


def fixed_folder(text: str) -> str:
    """Return the folder before the first special sign of a pattern."""
    plain = re.split(r"[{*?\[]", text, maxsplit=1)[0]
    return plain.rpartition("/")[0] or ("/" if plain.startswith("/") else "")


def split_of(name: str, word: str) -> str:
    """Return the split that a user names before a pattern. Raises UsageError for an unknown word."""
    split = FOLDERS.get(word.lower()) or (word if OTHER_TEST.fullmatch(word) else None)
    if split is None:
        near = suggestion(SPLITS, word)
        raise refused(name, f"{word} is no split: {near}expected train=, val=, test= or test_NAME= before a pattern,"
                            f" for example {EXAMPLE}")  # fmt: skip
    return split


def top_level(text: str) -> Iterator[str]:
    """Yield the parts of a text between commas outside braces."""
    depth = start = 0
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth <= 0:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def expanded(name: str, text: str) -> list[str]:
    """Return the expanded braces of a pattern, in the order of bash.

    name: of the data set, for messages. Raises UsageError for braces without an end, with nothing to choose from, and
    for more than MOST_TARS texts.
    """
    start = text.find("{")
    if start < 0:
        if "}" in text:
            raise refused(name, f"a brace of {shown(text)} has no beginning; expected e.g. {EXAMPLE}")
        return [text]
    end, depth = start, 0
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if not depth:
            break
    if depth:
        raise refused(name, f"a brace of {shown(text)} has no end; expected e.g. {EXAMPLE}")
    endings, found = expanded(name, text[end + 1 :]), list[str]()
    for middle in choices(name, text[start + 1 : end]):
        found += [text[:start] + middle + ending for ending in endings]
        if len(found) > MOST_TARS:
            raise refused(name, f"it means more than {MOST_TARS:,} files; expected fewer, larger ones")
    return found


def choices(name: str, body: str) -> Iterator[str]:
    """Yield the choices of a pair of braces: the numbers of a range, or each part of a list."""
    found = RANGE.fullmatch(body)
    if found is None:
        parts = list(top_level(body))
        if len(parts) < 2:
            raise refused(name, f"braces {shown('{' + body + '}')}; expected a range {{0000..0099}} or a list {{a,b}}")
        for part in parts:
            yield from expanded(name, part)
        return
    first, last, step = int(found[1]), int(found[2]), abs(int(found[3] or 1)) or 1
    padded = any(re.match(r"-?0\d", number) for number in (found[1], found[2]))
    width = max(len(found[1]), len(found[2])) if padded else 0
    for value in range(first, last + 1, step) if first <= last else range(first, last - 1, -step):
        yield f"{value:0{width}d}"


def short_of(name: str) -> str:
    """Return a name as a part of a file's name: wds-train of wds:train-{0000..0099}.tar; "wds" if nothing is fixed.

    Only letters, digits, dots, dashes and underlines, at most 44 of them.
    """
    pattern = next(top_level(name.partition(":")[2]), "").strip()
    text = NAMED.sub(r"\2", pattern).removesuffix(".tar")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", re.split(r"[{*?\[]", text, maxsplit=1)[0]).strip("-._")
    return f"{NAME}-{plain[:LABEL_LETTERS]}" if plain else NAME


def root_of(name: str, root: Path | str | None) -> Path:
    """Return the folder that the patterns of a name start from: `root`, else the first of the current folder,
    $CLP_DATA/wds and ./data/wds that has a file of the first pattern. Raises InputError that lists the places.
    """
    if root is not None:
        if not is_folder(Path(root)):
            raise InputError(f"data set {name}: no folder at {root}; give it with --root DIR")
        return Path(root)
    places = [Path(), *([Path(os.environ["CLP_DATA"]) / NAME] if os.environ.get("CLP_DATA") else []),
              Path("data") / NAME]  # fmt: skip
    if name == NAME:
        places = places[1:]
    patterns = parse(name)
    for place in places:
        if is_folder(place) and any(found_by(place, path) for pattern in patterns for path in pattern.paths[:1]):
            return place
    listed = " or ".join("the current folder" if place == Path() else str(place) for place in places)
    raise InputError(f"data set {name}: no tar file {patterns[0].paths[0]} in {listed}; give their folder with"
                     " --root DIR")  # fmt: skip


def found_by(root: Path, path: str) -> list[str]:
    """Return the files of one path below a root, in the order of their names; empty if there are none."""
    if not any(sign in path for sign in SPECIAL):
        return [path] if is_file(root / path) else []
    try:
        names = glob.glob(path, root_dir=root)
    except (ValueError, re.error):
        return []
    return sorted(Path(name).as_posix() for name in names if is_file(root / name))


def find_tars(name: str, root: Path) -> list[Tar]:
    """Return the tar files of a name: train first, then val, test and other tests, each in the given order.

    Raises InputError for a pattern without files, for a file of two patterns, and for missing files, with their number.
    """
    tars: dict[str, Tar] = {}
    patterns = parse(name)
    for pattern in patterns:
        found = found_for(name, root, pattern)
        if not found and name != NAME:
            raise InputError(f"data set {name}: no file fits {pattern.text} below {root}{there(root)}")
        for path in found:
            if path in tars:
                raise InputError(f"data set {name}: {short_path(path)} is named twice; each tar file counts once")
            tars[path] = Tar(path, pattern.split or split_by_name(name, path))
    if not tars:
        raise InputError(f"data set {name}: no tar file in {root} or a folder in it; give their folder with --root DIR")
    check_names(tars, "tar file", root, 4096)
    order = ["", *splits_of(tars.values())]
    return sorted(tars.values(), key=lambda tar: order.index(tar.split))


def found_for(name: str, root: Path, pattern: Pattern) -> list[str]:
    """Return the files of one pattern. Raises InputError with the number of missing files of a list."""
    found, missing = list[str](), list[str]()
    for path in pattern.paths:
        of_path = found_by(root, path)
        found += of_path
        missing += [] if of_path else [path]
    if found and missing:
        raise InputError(
            f"data set {name}: {len(missing):,} of {len(pattern.paths):,} tar files of {pattern.text} are missing,"
            f" first {root / missing[0]}; restore them, or name only existing ones"
        )
    return found


def there(root: Path) -> str:
    """Return in words the tar files in a root, as the end of a message."""
    names = [name for path in EVERYTHING for name in found_by(root, path)]
    if not names:
        return ", and there is no other tar file; check --root"
    return f"; there {'are' if len(names) > 1 else 'is'} {some(names)}"


def split_by_name(name: str, path: str) -> str:
    """Return the split from the name of a tar file, or from the nearest of its folders: imagenet-train-0001.tar.

    "" if none has one. Raises InputError for a name with words of two splits.
    """
    for part in reversed(PurePosixPath(path).parts):
        splits = {FOLDERS[word] for word in re.split(r"[^a-z]+", part.lower()) if word in FOLDERS}
        if len(splits) > 1:
            both = " and ".join(sorted(splits))
            raise InputError(f"data set {name}: {short_path(path)} names several splits, {both}; choose one,"
                             " for example wds:train=PATTERN")  # fmt: skip
        if splits:
            return splits.pop()
    return ""


def splits_of(tars: Iterable[Tar]) -> tuple[str, ...]:
    """Return the splits of tar files: train, val, test, then other tests in the order of their names."""
    others = sorted({tar.split for tar in tars} - {*SPLITS, ""})
    return (*SPLITS, *others)
