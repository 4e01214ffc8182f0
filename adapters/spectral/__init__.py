"""The spectral regulariser of FRONT+ (Eq. 5 to 7) for any torch module, and for Trainer and Lightning loops."""
