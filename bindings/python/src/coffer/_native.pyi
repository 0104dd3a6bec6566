# What cffi compiles from coffer.h. Its types are C's; everything above it is annotated.
from typing import Any

ffi: Any
lib: Any
