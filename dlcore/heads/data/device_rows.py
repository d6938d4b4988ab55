"""Place the rows on the device once, in their dtype, from any array library."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.tables.sparse import SparseRows
from dlcore._core.types import Array, Device
from dlcore.certificate.rows import DataLike, HostTable
from dlcore.devices import ALIGNMENT, aligned_copy, platform_of
from dlcore.heads.quick_jit import quick_jit
from dlcore.objective.borrowed import BorrowedRows, borrow

DENSE_BYTES = 2**24
"""Bytes of the rows of a sparse table that are dense on the host at a time."""
BORROWED_BYTES = 2**28
"""NumPy rows of at least this many bytes are read in place although they are not aligned.

A pass over an aligned copy takes four fifths of the time. `malloc` gives all arrays of this size the same
alignment.
"""


def share_with_jax(x: DataLike) -> DataLike:
    """Return an array of another library, such as torch, as a JAX array over the same memory.

    Other arrays, and arrays that JAX cannot read, are returned unchanged.
    """
    if isinstance(x, jax.Array | np.ndarray) or not hasattr(x, "__dlpack__"):
        return x
    try:
        with jax.enable_x64(True):
            detach = getattr(x, "detach", None)  # of torch: a strided one is copied
            return jax.dlpack.from_dlpack(detach().contiguous() if detach else x)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return x  # NumPy may read it; otherwise NumPy's error gives the reason.


def rows_to_device(x: jax.Array | HostTable) -> Array | BorrowedRows:
    """Return rows for programs that read them in blocks. A large NumPy array is read in place."""
    if isinstance(x, np.ndarray) and x.nbytes >= BORROWED_BYTES and not _in_place(x) and platform_of() == "cpu":
        lent = borrow(x)
        if lent is not None:
            return lent
    return on_device(x)


def on_device(x: jax.Array | HostTable, device: Device = None) -> Array:
    """Return an array on the device.

    A JAX array is not copied. A NumPy array is copied only where the device cannot read it in place. A sparse
    table becomes dense on the device, block by block: it is never dense on the host.
    """
    if isinstance(x, jax.Array):
        return x
    if not isinstance(x, SparseRows):
        return jax.device_put(x if _in_place(x) or platform_of() != "cpu" else aligned_copy(x), device)
    rows, columns = x.shape
    step = min(rows, max(1, DENSE_BYTES // (columns * x.dtype.itemsize)))
    with jax.default_device(device):
        whole = jax.device_put(_zeros(shape=x.shape, dtype=x.dtype), device)
    for start in range(0, rows, step):
        first = min(start, rows - step)
        whole = _write(whole, *jax.device_put((x[first : first + step], np.int32(first)), device))
        whole.block_until_ready()  # else blocks that wait to be written fill the host's memory
    return whole


def _in_place(x: np.ndarray) -> bool:
    return x.flags.c_contiguous and x.ctypes.data % ALIGNMENT == 0


@quick_jit("shape", "dtype")
def _zeros(shape: tuple[int, int], dtype: np.dtype) -> Array:
    return jnp.zeros(shape, dtype)


@quick_jit(donate_argnums=0)
def _write(whole: Array, rows: Array, first: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, rows, first, 0)
