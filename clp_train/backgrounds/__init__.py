"""BACKGROUND: what a picture without its object says of its label."""
