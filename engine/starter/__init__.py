"""The tiny Stable Diffusion that ships with the project, the drawn world it was trained on, and the practice exercises."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The starter as a diffusers folder."""
PRACTICE = Path(__file__).parent / "practice"
"""Practice datasets in Kohya's folder form, one folder an exercise."""
