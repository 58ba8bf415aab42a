"""EVALUATE: what a network makes of pictures, how good it is, and where it looks."""
