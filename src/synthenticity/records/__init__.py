"""Labelled documents as files: records, the run that makes them, the folder and its card."""
