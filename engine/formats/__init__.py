"""What lies on disk: module names, adapter files and their metadata, single-file checkpoints, infotext."""
