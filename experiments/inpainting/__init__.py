"""The inpainter: its pictures."""
