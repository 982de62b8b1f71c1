"""How much memory there is for a TLS handshake, asked before one is begun."""

import gc

from .errors import RootletError


def largest_block(limit=65536):
    """Bytes of the largest block the GC heap gives, found by trying (16-byte steps, up to `limit`)."""
    low, high = 0, limit
    while high - low > 16:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
    gc.collect()
    return low


def _idf_heap():
    import esp32

    regions = esp32.idf_heap_info(esp32.HEAP_DATA)
    return sum(r[1] for r in regions), max(r[2] for r in regions)


def _gc_has(block, out_block):
    try:
        bytearray(block), bytearray(out_block)
        return True
    except MemoryError:
        return False


_reserved: list = []


def reserve(needs):
    """Hold the blocks that a handshake needs in one piece until it asks for them.

    Where TLS allocates in the GC heap, what is loaded and allocated meanwhile would be scattered over all of it: much
    memory free, and no piece large enough. To be called before the large modules are imported, and after a connection
    has ended. Args: needs: see check.
    """
    _reserved.clear()
    if not needs or needs["heap"] != "gc":
        return
    gc.collect()
    try:
        _reserved.extend([bytearray(needs["block_bytes"]), bytearray(needs["out_block_bytes"])])
    except MemoryError:
        _reserved.clear()


def settle():
    """All is loaded and connected: from now on collect when half of what is free has been used up.

    boot.py has it done every 8 KB, so that what is loaded lies close together; that costs half of the speed.
    """
    gc.collect()
    gc.threshold(max(8192, gc.mem_free() // 2))


def check(needs):
    """Collect, then refuse a handshake that would run out of memory half-way.

    On rp2 Mbed TLS allocates in the GC heap, and running out there is reported as a bad certificate;
    so the question is asked first.

    Args:
        needs: the "tls" row of the board file: heap ("gc" or "idf"), block_bytes, out_block_bytes, free_bytes;
            None where the heap is no concern.
    Raises: RootletError TLS_MEMORY, naming the largest free block.
    """
    _reserved.clear()
    gc.collect()
    if not needs:
        return
    block, total = needs["block_bytes"], needs["free_bytes"]
    if needs["heap"] == "idf":
        free, largest = _idf_heap()
        fits = largest >= block
    else:
        free = gc.mem_free()
        fits = _gc_has(block, needs["out_block_bytes"])
        gc.collect()
    if free >= total and fits:
        return
    if needs["heap"] != "idf":
        largest = largest_block()
    raise RootletError(
        "TLS_MEMORY",
        "largest free block %d B, %d B free in all; needs %d B in one piece and %d B in all"
        % (largest, free, block, total),
    )
