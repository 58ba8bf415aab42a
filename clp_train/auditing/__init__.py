"""AUDIT: what a classifier, or a data set, owes to its backgrounds."""
