"""The processes of one run, its ranks: who they are, how a pass is split over them, what they average and exchange.

Every rank knows the whole batch, and passes its own part of it through the network. The outputs of all parts are then
gathered. So each rank computes everything after that (characteristics, losses, the method's own state) for the whole
batch, and no method knows about other ranks. Gradients of weights are averaged. So a run of N ranks equals the run of
one process, except for rounding. A pass that is not split is exact too, only not faster.
"""

SYNCHRONISED, LOCAL = "synchronised", "local"
BATCH_NORMS = (SYNCHRONISED, LOCAL)
"""Statistics of batch norm in training mode: of the whole batch, or of each rank's own part of it."""
