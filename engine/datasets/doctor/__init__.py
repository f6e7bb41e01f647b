"""The doctor of a dataset: what is wrong with pictures and captions, what it means for training, and a remedy."""
