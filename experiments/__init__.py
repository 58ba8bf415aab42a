"""Experiments: a folder a question, the results beside the scripts; run each as python -m experiments.FOLDER.NAME."""
