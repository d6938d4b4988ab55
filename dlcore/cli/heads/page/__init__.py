"""Report of a fit as one HTML page that loads nothing."""
