"""Which weights learn: one file a family, all stacked over members."""
