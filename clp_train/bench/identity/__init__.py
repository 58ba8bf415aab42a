"""The identity of code: a digest of everything that some definitions reach, independent of names."""
