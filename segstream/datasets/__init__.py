"""Readers of segmentation datasets in their official folder layouts."""
