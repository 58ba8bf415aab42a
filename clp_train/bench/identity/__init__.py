"""The identity of code: a digest of what is reached from some definitions, whatever things are called."""
