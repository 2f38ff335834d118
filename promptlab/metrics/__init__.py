"""How right the answers are: metrics by name, calibration error, and whether a difference is more than chance."""
