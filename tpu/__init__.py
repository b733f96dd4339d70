"""Starts training on slices of TPUs and on clusters; see README.md here."""
