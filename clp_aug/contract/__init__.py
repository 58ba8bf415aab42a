"""What both tools agree on: schema, boxes, pictures, seeds, shards, errors. numpy and h5py, no torch."""
