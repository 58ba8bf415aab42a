"""The names of the 1,000 classes of ImageNet: those of torchvision, and with timm also synonyms and WordNet ids."""

from __future__ import annotations

CLASSES = 1000


def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """Return the names of each class of ImageNet, in the usual order of classes, the usual name first.

    WordNet ids (n01440764) and synonyms are those of timm, where it is installed. Source: torchvision's and timm's
    tables.
    """
    from torchvision import models

    usual = models.ResNet50_Weights.DEFAULT.meta["categories"]
    more = synonyms()
    return tuple(tuple(dict.fromkeys((name, *more[i]))) if more else (name,) for i, name in enumerate(usual))


def synonyms() -> list[tuple[str, str]]:
    """Return (synonyms with commas, WordNet id) of each class, empty if timm is not installed."""
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return []
    table = ImageNetInfo("imagenet-1k")
    return [(table.index_to_description(i), table.index_to_label_name(i)) for i in range(CLASSES)]
