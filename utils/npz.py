"""The errors of damaged `.npz` files."""

import struct
import zipfile
import zlib

# What zipfile and NumPy raise for a file with changed bytes: besides `BadZipFile`, errors about
# flags and methods of compression that are unknown, and about sizes beyond the file or the memory.
DAMAGE = (
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
