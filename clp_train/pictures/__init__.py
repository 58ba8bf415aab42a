"""Pictures in memory and the batches of a step: which rows, in which order, transformed with their boxes."""
