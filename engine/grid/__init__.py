"""Grids of pictures: what their axes mean, which requests their cells are, and how they are kept. Makes no picture."""
