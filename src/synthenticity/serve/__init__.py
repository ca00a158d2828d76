"""A trained scorer behind HTTP, and the page on which people use it."""
