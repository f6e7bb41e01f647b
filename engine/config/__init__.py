"""Everything a user can set, declared once. Imports no torch and no Gradio."""
