"""How they learn: losses, the optimiser over stacks, the one loop."""
