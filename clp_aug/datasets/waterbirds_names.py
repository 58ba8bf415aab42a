"""READ: the names and the published counts of Waterbirds. No numpy here: every --help reads them."""

CLASSES, PLACES = ("landbird", "waterbird"), ("land", "water")
PUBLISHED = ((3498, 184, 56, 1057), (467, 466, 133, 133), (2255, 2255, 642, 642))
"""Pictures of each group in train, val and test of the published set (Sagawa et al. 2020, table of the data sets)."""
