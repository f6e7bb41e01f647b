"""The whole examination: read the dataset, look at every picture, ask every check."""
