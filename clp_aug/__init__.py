"""clp_aug: the offline half of CLP. Pictures in, one HDF5 shard of counterfactuals and factuals out.

Read in this order: contract/schema.py (what a shard holds), pipeline.py (the flow on one page), fills/.
"""

__version__ = "0.1.0"
