"""The claims of README and the docs, made from the recorded results alone."""
