"""What the tests of exported classifiers share: how one is made."""

import torch


def export(path, module, side):
    """Write a network as an exported program for any number of pictures of so many pixels a side; return the path."""
    program = torch.export.export(
        module.eval(), (torch.rand(2, 3, side, side),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(program, path)
    return path
