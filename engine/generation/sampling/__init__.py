"""From noise to latents: the noise of each picture, the levels it falls through, and the samplers that walk them.

Knows no prompt and no model: what a model says is handed in, call by call.
"""
