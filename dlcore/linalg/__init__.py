"""Linear algebra with the names and meaning of the array API standard, precision stated, edges right."""

from dlcore.linalg.norms import matrix_norm, spectral_norm, vector_norm
from dlcore.linalg.products import matmul, matrix_transpose, outer, vecdot
from dlcore.linalg.solving import solve

__all__ = [
    "matmul",
    "matrix_norm",
    "matrix_transpose",
    "outer",
    "solve",
    "spectral_norm",
    "vecdot",
    "vector_norm",
]
