"""Rows of protocols: checked, kept apart, divided into subsets and folds, and hashed for the record."""
