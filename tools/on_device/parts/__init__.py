"""Parts of a visit: what each measures, at full and at small sizes."""
