"""What pyproject.toml cannot say: the compiled part, one for all versions of Python from 3.9 on."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the builder imports its neighbour

setup(
    cffi_modules=["build_native.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
)
