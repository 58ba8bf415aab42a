"""The output of clp-inspect for a shard: a summary in numbers, and a page of pictures."""
