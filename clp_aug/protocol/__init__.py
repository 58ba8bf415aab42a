"""Protocol: which pictures are train, meta, validation and test, and the training labels; see `split.make_split`."""
