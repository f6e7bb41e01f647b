"""Models that say what a picture shows: one file per kind, one table of them (`registry`), and where they lie (`place`).

Importing this loads no torch, transformers or onnxruntime; opening a tagger does.
"""
