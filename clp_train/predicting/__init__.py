"""Trained classifiers: their description, loading, predictions of pictures, and model cards."""
