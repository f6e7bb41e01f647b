"""Getting models from the internet: what an address means, who may be asked, and files that arrive whole or not at all.

Knows no page, no queue and no torch; a job drives it.
"""
