"""What clp-inspect shows of a shard: a summary in numbers, and a page of pictures."""
