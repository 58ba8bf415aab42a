"""Networks that more than one package uses. Nothing here depends on data sets or training."""
