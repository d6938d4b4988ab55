"""Importing the library defines names and changes nothing else in the process."""

import subprocess
import sys
import types

import pytest

import dlcore


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_needs_no_extra_starts_no_backend_and_changes_no_setting():
    """The number of devices can only be set before the first backend starts."""
    python(
        "import sys\n"
        "extras = 'rich tyro matplotlib safetensors pyarrow flatbuffers sklearn'.split()\n"
        "sys.modules.update(dict.fromkeys(extras))\n"
        "import jax; before = dict(jax.config.values)\n"
        "import dlcore\n"
        "print(dlcore.fit)\n"
        "assert dict(jax.config.values) == before\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"
        "assert jax.device_count() == 3"
    )


def test_submodules_are_imported_on_first_use():
    python(
        "import sys, dlcore\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert dlcore.certificate.data_report and dlcore.devices.find_device\n"  # a module is an attribute
        "assert not hasattr(dlcore, 'nothing')\n"
        "from dlcore import *\n"
        "assert set(dlcore.__all__) <= set(globals()) & set(dir(dlcore))"
    )


def test_few_names_are_public():
    assert set(dlcore.__all__) == {
        name for name in dir(dlcore) if not name.startswith("_") and not _internal(name, getattr(dlcore, name))
    }


def _internal(name: str, value: object) -> bool:
    """Return whether a name is a submodule that the import system bound, and no public name."""
    return isinstance(value, types.ModuleType) and name not in dlcore.__all__


@pytest.mark.parametrize("name", dlcore.__all__)
def test_every_public_name_has_a_docstring(name):
    assert (getattr(dlcore, name).__doc__ or "").strip()


MACHINERY = ("rule", "with_loss_info", "get_loss_info", "sum_over_blocks", "run_program", "penalised")
"""Functions that compute no number, for authors of rules and losses."""


@pytest.mark.parametrize(
    "module",
    [
        dlcore.tensors,
        dlcore.linalg,
        dlcore.calculus,
        dlcore.graph,
        dlcore.losses,
        dlcore.metrics,
        dlcore.data,
        dlcore.export,
        dlcore.descent,
        dlcore.objective,
        dlcore.probing,
    ],
)
def test_every_public_function_has_shapes_errors_source_and_an_example(module):
    for name in module.__all__:
        function = getattr(module, name)
        if not isinstance(function, types.FunctionType) or name in MACHINERY:
            continue
        for part in ("Args:", "Returns:", "Raises:", "Source:", ">>>"):
            assert part in (function.__doc__ or ""), f"{name} lacks {part}"
