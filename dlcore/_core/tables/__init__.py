"""Tables of users: names of columns, sparse rows, and rows that belong to the same sets. NumPy alone."""
