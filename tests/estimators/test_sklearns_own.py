"""scikit-learn's own tests of these estimators, with dlcore's in place."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from helpers import ROOT

pytestmark = [pytest.mark.any_mode, pytest.mark.slow, pytest.mark.timeout(3600)]

FEWEST = {"test_logistic": 180, "test_ridge": 1000}
"""Tests that pass at least. An import that fails or a plugin that is not loaded is noticed."""


@pytest.mark.parametrize("module", FEWEST)
def test_scikit_learns_tests_pass(module, tmp_path):
    package = Path(sklearn.__file__).parent
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "estimators")]
    # Tracebacks of other styles parse the source of each frame of each expected failure.
    command = [sys.executable, "-m", "pytest", "-q", "--tb=native", "-p", "patched", "-p", "no:cacheprovider"]
    command += ["-c", str(tmp_path / "pytest.ini"), f"--rootdir={package}", f"--confcutdir={package}"]
    done = subprocess.run(
        [*command, str(package / "linear_model" / "tests" / f"{module}.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= FEWEST[module]
