"""A run: it is assembled from a config, trained in stages of epochs of steps, and saved so that it survives a kill."""
