"""The devices that are compiled for: described, not there."""

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

from dlcore._core.types import Device
from dlcore.objective.sharding import over_rows, row_mesh

COUNTS = {"cuda": 2, "tpu": 4}
"""How many devices rows lie over where they lie over several."""
NAMES = {"cuda": "H100", "tpu": "v5e"}


class Place(NamedTuple):
    """Where a program will run.

    Attributes:
      target: "cuda" or "tpu".
      devices: of one description.
      mesh: of all of them, as `Objective.prepare` makes it; None for one.
    """

    target: str
    devices: list[Device]
    mesh: Mesh | None

    @property
    def name(self) -> str:
        """Such as "2 × H100"."""
        return f"{len(self.devices)} × {NAMES[self.target]}"

    def whole(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """An array that every device has."""
        if self.mesh is None:
            sharding = SingleDeviceSharding(self.devices[0])
        else:
            sharding = NamedSharding(self.mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def rows(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """An array whose first axis lies over the devices."""
        whole = self.whole(shape, dtype)
        return whole if self.mesh is None else jax.ShapeDtypeStruct(shape, dtype, sharding=over_rows(self.mesh))

    def like(self, tree: Any) -> Any:
        """A tree of arrays and numbers as what every device has of it."""

        def of(leaf: Any) -> jax.ShapeDtypeStruct:
            dtype = leaf.dtype if hasattr(leaf, "dtype") else jax.dtypes.canonicalize_dtype(np.result_type(leaf))
            return self.whole(np.shape(leaf), dtype)

        return jax.tree.map(of, tree)


class Compiled(NamedTuple):
    """What the compiler hands out.

    Attributes:
      text: of the optimised program, HLO.
      temporaries: bytes beside arguments and results, on one device.
      accessed: bytes that it says are read and written, those of a loop's body once; None where it does not say.
      tensor_cores: instructions of PTX that round what they multiply to TF32; None on a TPU.
      spills: bytes that `ptxas` keeps in memory for want of registers; None on a TPU.
    """

    text: str
    temporaries: int
    accessed: float | None
    tensor_cores: int | None = None
    spills: int | None = None


def place_of(target: str, *, sharded: bool) -> Place:
    """One device of a kind, or several with rows over them."""
    count = COUNTS[target] if sharded else 1
    if target == "cuda":
        described = (Path(__file__).parent / "h100.textproto").read_text()
        found = topologies.get_topology_desc("", "cuda", target_config=described, topology=f"1x1x{count}")
    else:
        found = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    devices = list(found.devices)[:count]
    return Place(target, devices, row_mesh(devices) if sharded else None)


@contextlib.contextmanager
def tracing(place: Place) -> Iterator[None]:
    """The library decides as it would on that device: it asks for the default one."""
    with jax.default_device(place.devices[0]):
        yield


def compile_for(place: Place, lowered: Any) -> Compiled:
    """Through to machine code, by the target's own compiler."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"xla_gpu_autotune_level": 0, "xla_dump_to": folder} if place.target == "cuda" else {}
        compiled = lowered.compile(compiler_options=options)
        kernels = sorted(Path(folder).glob("*.ptx"))
        text = "".join(path.read_text() for path in kernels)
        spills = sum(map(_spilled, kernels)) if place.target == "cuda" else None
    cost = compiled.cost_analysis() or {}
    return Compiled(
        compiled.as_text(),
        compiled.memory_analysis().temp_size_in_bytes,
        cost.get("bytes accessed"),
        len(re.findall(r"\btf32\b", text)) if place.target == "cuda" else None,
        spills,
    )


def _spilled(kernels: Path) -> int:
    """What `ptxas -v` says of the kernels in a file."""
    if not kernels.stat().st_size:
        return 0
    assembler = Path(sysconfig.get_path("purelib")) / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    target = re.search(r"^\.target (\w+)", kernels.read_text(), re.MULTILINE)
    command = [assembler, "-v", "--gpu-name", target[1] if target else "sm_90a", "-o", os.devnull, kernels]
    report = subprocess.run(command, text=True, capture_output=True, check=True).stderr
    return sum(int(stored) for stored in re.findall(r"(\d+) bytes spill stores", report))


def versions() -> dict[str, str]:
    """What compiled."""
    packages = ("jax", "jaxlib", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12", "libtpu")
    return {name: importlib.metadata.version(name) for name in packages}
