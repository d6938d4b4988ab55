"""Linear algebra with the names and meaning of the array API standard, and stated precision."""

from dlcore.linalg.angles import angle, are_orthogonal, are_orthonormal, is_orthogonal, is_symmetric
from dlcore.linalg.elementwise import add, identity, multiply, trace
from dlcore.linalg.lstsq import LeastSquares, lstsq
from dlcore.linalg.norms import matrix_norm, spectral_norm, vector_norm
from dlcore.linalg.pinv import pinv
from dlcore.linalg.products import matmul, matrix_transpose, outer, vecdot
from dlcore.linalg.rank import cond, matrix_rank
from dlcore.linalg.solve import inv, solve

__all__ = [
    "LeastSquares",
    "add",
    "angle",
    "are_orthogonal",
    "are_orthonormal",
    "cond",
    "identity",
    "inv",
    "is_orthogonal",
    "is_symmetric",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_rank",
    "matrix_transpose",
    "multiply",
    "outer",
    "pinv",
    "solve",
    "spectral_norm",
    "trace",
    "vecdot",
    "vector_norm",
]
