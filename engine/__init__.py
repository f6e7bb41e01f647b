"""The engine trains, applies and generates. It knows nothing of Gradio or of any screen."""

__version__ = "0.1.0"
