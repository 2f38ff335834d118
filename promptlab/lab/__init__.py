"""Side by side: a plan of runs, what of it is missing, and the table it makes."""
