"""BACKGROUND: what a picture without its object says about its label."""
