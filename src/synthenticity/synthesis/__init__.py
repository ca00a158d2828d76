"""Human text in, labelled synthetic text out: masking, filling, truth."""
