"""Ways of computing the exact networks; each gives the same integers, chosen by known answers."""
