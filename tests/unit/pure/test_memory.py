"""memory: what a handshake needs in one piece is held until it is asked for."""

from rootlet import memory

NEEDS = {"heap": "gc", "block_bytes": 4000, "out_block_bytes": 1000, "free_bytes": 1}


def held():
    return [len(block) for block in memory._reserved]


def test_blocks_are_held_until_the_handshake():
    memory.reserve(NEEDS)
    assert held() == [4000, 1000]
    memory.reserve(NEEDS)
    assert held() == [4000, 1000]
    try:
        memory.check(None)
    finally:
        assert held() == []


def test_nothing_is_held_where_tls_has_a_heap_of_its_own():
    memory.reserve(NEEDS)
    memory.reserve({"heap": "idf"})
    assert held() == []
    memory.reserve(None)
    assert held() == []
