"""The report on data: properties of the columns, and whether a hyperplane separates the classes."""
