"""AUDIT: how much a classifier, or a data set, relies on backgrounds."""
