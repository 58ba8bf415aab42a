"""EVALUATE: the predictions of a network, its accuracy, and where it looks."""
