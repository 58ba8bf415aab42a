"""What several methods share: losses, moments, weights, mixtures, checks."""
