"""A run: what a config describes is assembled, trained in stages of epochs of steps, and kept against kills."""
