"""Sets with spurious backgrounds on which no setting was chosen, and every method of interest on them."""
