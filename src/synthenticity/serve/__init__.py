"""A scorer behind HTTP: one model, requests merged into its batches, everything bounded."""
