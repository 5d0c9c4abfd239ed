"""What clips will cost, before weights are read."""
