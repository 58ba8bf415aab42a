"""How data sets are made out of others: one module a sub-command of clp-data."""
