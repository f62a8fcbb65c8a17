"""Where results go: annotated video, masks, JSON lines."""
