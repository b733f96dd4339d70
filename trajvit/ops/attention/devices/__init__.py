"""Attention on several devices: each does its share, or keys go round."""
