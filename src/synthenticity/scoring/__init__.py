"""Trained scorers applied to text of any length."""
