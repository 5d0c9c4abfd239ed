"""The page of the studio, in Gradio."""
