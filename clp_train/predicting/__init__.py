"""A trained classifier used afterwards: what it is, loading it, predictions of pictures, its model card."""
