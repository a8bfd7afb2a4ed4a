import subprocess
import sys

import pytest

import medkit.data


def test_every_name_that_is_promised_can_be_had():
    assert all(getattr(medkit.data, name).__name__ == name for name in medkit.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'read_volumes'"):
        _ = medkit.data.read_volumes


def test_listing_cases_imports_no_monai():
    code = "import sys, medkit.data.cases; sys.exit('monai' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
