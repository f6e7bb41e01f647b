"""How the parts of base models are laid out in single files: one table of names per network, read in both directions."""
