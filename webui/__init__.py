"""The page. Gradio only here; nothing in it computes, and nothing in it imports torch."""
