"""Target devices, described to the compilers, and the compilation for them."""

import contextlib
import importlib.metadata
import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jax.typing import DTypeLike

from dlcore._core.types import Device
from dlcore.objective.sharding import row_mesh, row_sharding

COUNTS = {"cuda": 2, "tpu": 4}
"""Number of devices of a sharded program."""
NAMES = {"cuda": "H100", "tpu": "v5e"}

AbstractArray = Any
"""A `jax.ShapeDtypeStruct`, passed to functions that expect an array."""


class Placement(NamedTuple):
    """Devices that a program will run on.

    Attributes:
      target: "cuda" or "tpu".
      devices: devices of one kind.
      mesh: mesh of all devices, as `Objective.prepare` makes it; None for one device.
    """

    target: str
    devices: list[Device]
    mesh: Mesh | None

    @property
    def name(self) -> str:
        """Number and kind of the devices, such as "2 × H100"."""
        return f"{len(self.devices)} × {NAMES[self.target]}"

    def replicated(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> AbstractArray:
        """Return an abstract array that is on every device."""
        if self.mesh is None:
            sharding = SingleDeviceSharding(self.devices[0])
        else:
            sharding = NamedSharding(self.mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def rows(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> AbstractArray:
        """Return an abstract array whose first axis is sharded over the devices."""
        if self.mesh is None:
            return self.replicated(shape, dtype)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=row_sharding(self.mesh))

    def like(self, tree: object) -> Any:
        """Return the abstract arrays of a tree of arrays and numbers, on every device."""

        def abstract(leaf: jax.Array | np.ndarray | float) -> jax.ShapeDtypeStruct:
            if isinstance(leaf, jax.Array | np.ndarray | np.generic):
                return self.replicated(leaf.shape, leaf.dtype)
            return self.replicated((), jax.dtypes.canonicalize_dtype(np.result_type(leaf)))

        return jax.tree.map(abstract, tree)


class Compiled(NamedTuple):
    """Output of the compiler.

    Attributes:
      text: the optimised program, in HLO.
      temporaries: bytes beside arguments and results, on one device.
      accessed: bytes read and written, those of a loop's body once; None if the compiler does not report them.
      tensor_cores: instructions of PTX that round their operands to TF32; None on a TPU.
      spills: bytes that `ptxas` spills from registers to memory; None on a TPU.
    """

    text: str
    temporaries: int
    accessed: float | None
    tensor_cores: int | None = None
    spills: int | None = None


def placement_on(target: str, *, sharded: bool) -> Placement:
    """Return one device of a kind, or several with rows sharded over them."""
    count = COUNTS[target] if sharded else 1
    if target == "cuda":
        config = (Path(__file__).parent / "h100.textproto").read_text()
        topology = topologies.get_topology_desc("", "cuda", target_config=config, topology=f"1x1x{count}")
    else:
        topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    devices = list(topology.devices)[:count]
    return Placement(target, devices, row_mesh(devices) if sharded else None)


@contextlib.contextmanager
def default_device(placement: Placement) -> Iterator[None]:
    """Set JAX's default device, which the library's decisions depend on."""
    with jax.default_device(placement.devices[0]):
        yield


def compile_for(placement: Placement, lowered: jax.stages.Lowered) -> Compiled:
    """Compile to machine code with the target's own compiler."""
    is_cuda = placement.target == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        options = {"xla_gpu_autotune_level": 0, "xla_dump_to": folder} if is_cuda else {}
        compiled = lowered.compile(compiler_options=options)
        kernels = sorted(Path(folder).glob("*.ptx"))
        text = "".join(path.read_text() for path in kernels)
        spills = sum(map(_spilled_bytes, kernels)) if is_cuda else None
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    assert memory is not None
    return Compiled(
        compiled.as_text() or "",
        memory.temp_size_in_bytes,
        cost.get("bytes accessed"),
        len(re.findall(r"\btf32\b", text)) if is_cuda else None,
        spills,
    )


def _spilled_bytes(kernels: Path) -> int:
    """Return the bytes of spilled registers that `ptxas -v` reports for a file of kernels."""
    if not kernels.stat().st_size:
        return 0
    assembler = Path(sysconfig.get_path("purelib")) / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    target = re.search(r"^\.target (\w+)", kernels.read_text(), re.MULTILINE)
    command = [assembler, "-v", "--gpu-name", target[1] if target else "sm_90a", "-o", os.devnull, kernels]
    report = subprocess.run(command, text=True, capture_output=True, check=True).stderr
    return sum(int(stored) for stored in re.findall(r"(\d+) bytes spill stores", report))


def versions() -> dict[str, str]:
    """Return the versions of the compilers."""
    packages = ("jax", "jaxlib", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12", "libtpu")
    return {name: importlib.metadata.version(name) for name in packages}
