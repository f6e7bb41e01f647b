"""The commands of `python -m engine`, one a file: `add_arguments(parser)` and `run(options) -> exit code`."""
