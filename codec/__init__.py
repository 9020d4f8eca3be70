"""Entropy coder: integers in, integers out. ANS stack, distributions, bits-back chains."""
