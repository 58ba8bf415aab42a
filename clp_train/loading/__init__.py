"""LOAD: a shard and the data set it was made from, decoded or from a cache."""
