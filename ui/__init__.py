"""The Qt viewer."""
