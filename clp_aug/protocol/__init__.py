"""Protocol: who trains, who is meta, who validates and tests, and on which labels; see `split.make_split`."""
