"""How the examples are used: one file a paper."""
