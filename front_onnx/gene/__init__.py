"""Learngenes: the low frequencies of a trained model, cut out once, from which models of any size are made."""
