"""Weights become a file, proved equal to the trained model."""
