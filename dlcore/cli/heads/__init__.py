"""Commands that fit, apply, certify and export linear heads: from a file to a certified result."""
