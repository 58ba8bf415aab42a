"""Networks that more than one room uses. Nothing here knows of data sets or of training."""
