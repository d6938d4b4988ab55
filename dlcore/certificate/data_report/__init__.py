"""The report on data: columns and classes."""
