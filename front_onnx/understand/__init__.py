"""Understanding: the axes of every tensor as products and sums of atoms, chains of blocks, named dims."""
