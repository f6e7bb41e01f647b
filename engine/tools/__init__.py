"""Tools for adapter files: merge, extract, resize and their kin. One file per tool: the arithmetic, and what reads and writes around it.

They know adapters, families and formats; only the jobs know them. A base model is read layer by layer, never loaded whole.
"""
