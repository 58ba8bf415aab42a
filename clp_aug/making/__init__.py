"""How data sets are made from others: one module per sub-command of clp-data."""
