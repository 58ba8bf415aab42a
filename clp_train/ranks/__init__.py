"""The processes of one run, its ranks: who they are, how a pass is split over them, what they average and exchange.

Every rank knows the whole batch, and takes its own part of it through the network. What the network says of all parts
is then gathered, so all that follows - characteristics, losses, the method's own state - is computed by each rank of
the whole batch, and no method knows that there are others. Gradients of weights are averaged. So a run of N ranks is
the run of one, but for rounding; a pass that is not split is exact, too, only not faster.
"""

SYNCHRONISED, LOCAL = "synchronised", "local"
BATCH_NORMS = (SYNCHRONISED, LOCAL)
"""Of what batch norm in training mode takes its statistics: of the whole batch, or of each rank's own part of it."""
