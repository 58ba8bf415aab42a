"""Weights that come with the package, each with its model card; `clp_aug.nets.shipped` knows what they must be."""
