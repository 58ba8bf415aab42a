"""READ: boxes of Pascal VOC: a folder with one XML file per picture; pixels counted from 1, both ends in the box.

xmin..xmax become xmin - 1..xmax, half open. Layout: Everingham et al. 2010, "The Pascal Visual Object Classes".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import MOST_BYTES_OF_ONE, Corners, Found, bytes_of, number, size_of
from clp_aug.datasets.names import files_below, shortened

EXPECTED = "annotation/object/bndbox with xmin, ymin, xmax, ymax"
DEEPEST = 32  # elements within each other


class Refused(Exception):
    """Raised for content that a file of boxes never needs."""


class Builder(TreeBuilder):
    """Builds the tree of a file without a document type, which could define entities, and without deep nesting."""

    depth = 0

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Raise Refused: a file of boxes needs none."""
        raise Refused("a document type, which may hide anything")

    def start(self, tag: str, attributes: dict[str, str]) -> Element:
        """Begin an element. Raises Refused if it is nested too deep."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise Refused(f"elements more than {DEEPEST} deep")
        return super().start(tag, attributes)

    def end(self, tag: str) -> Element:
        """End an element."""
        self.depth -= 1
        return super().end(tag)


def read(path: Path, form: str) -> Iterator[Found]:
    """Yield the boxes of a folder, in the order of its files. Raises InputError for a file in another format."""
    for file in files_below(path):
        if file.suffix.lower() != ".xml" or file.name.startswith("."):
            continue
        tree, within = parse(file), file.relative_to(path)
        size = size_of(tree.findtext("size/width"), tree.findtext("size/height"))
        name = (tree.findtext("filename") or "").strip()
        for position, element in enumerate(tree.findall("object"), 1):
            where = f"{file} object {position}"
            yield Found(
                within.with_suffix("").as_posix(), corners(element, where), f"{within.as_posix()} object {position}",
                (element.findtext("name") or "").strip(), size, True, name,
            )  # fmt: skip


def parse(file: Path) -> Element:
    """Return the root of a file. Raises InputError for no XML, no annotation, and refused content."""
    parser = XMLParser(target=Builder())
    try:
        parser.feed(bytes_of(file, EXPECTED, MOST_BYTES_OF_ONE))
        tree: Element = parser.close()
    except (ParseError, Refused, ValueError, LookupError) as error:  # the last two of encodings
        raise InputError(f"boxes {file}: not an XML file of boxes ({shortened(error)}); expected {EXPECTED}") from None
    if tree.tag != "annotation":
        raise InputError(f"boxes {file}: {shortened(tree.tag)} at the top; expected {EXPECTED}")
    return tree


def corners(element: Element, where: str) -> Corners:
    """Return the box of an object, half open. Raises InputError for one without a box."""
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{where}: no bndbox; expected {EXPECTED}")
    x0, y0, x1, y1 = (number(box.findtext(name), name, where) for name in ("xmin", "ymin", "xmax", "ymax"))
    return x0 - 1, y0 - 1, x1, y1
