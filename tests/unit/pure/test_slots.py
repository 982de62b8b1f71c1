"""slots, rotation: which files are in use, whatever lies on the flash, and wherever a rotation is cut off."""

import binascii
import hashlib
import os

from cut_flash import Cut, Flash, folder

from rootlet import rotation, slots
from rootlet.errors import RootletError

FLASH = folder("flash_slots")
CERT = b"new certificate"
KEY = b"new key"


def power_up(cut_at=None, fat=False):
    """As after a restart."""
    flash = Flash(FLASH, cut_at, fat)
    slots._chosen = ()
    for module in (slots, rotation):
        module.os = flash
        module.open = flash.open
    return flash


def empty():
    """A flash with the files of the first deployment, and nothing else."""
    for name in os.listdir(FLASH):
        if name[:5] == "slot_":
            for inner in os.listdir(FLASH + name):
                os.remove(FLASH + name + "/" + inner)
            os.rmdir(FLASH + name)
        else:
            os.remove(FLASH + name)
    put("device.crt.der", b"first certificate")
    put("device.key.der", b"first key")
    return power_up()


def put(name, data):
    with open(FLASH + name, "wb") as f:
        f.write(data)


def log(topic, text):
    logged.append(text)


logged: list = []


def fill(slot, made=1, cert=CERT, key=KEY, tried=True):
    """What a rotation leaves in a slot."""
    rotation.clear(slot)
    files = {}
    for name, data in (("device.crt.der", cert), ("device.key.der", key)):
        put(slots.folder(slot) + "/" + name, data)
        files[name] = [len(data), binascii.hexlify(hashlib.sha256(data).digest()).decode()]
    rotation.seal(slot, made, files)
    if tried:
        put(slots.folder(slot) + "/tried", b"ok\n")


def in_use():
    """(certificate, key) that a restart would take."""
    power_up()
    slots.start(log)
    found = []
    for name in ("device.crt.der", "device.key.der"):
        with open(FLASH + slots.path(name), "rb") as f:
            found.append(f.read())
    return tuple(found)


FIRST = (b"first certificate", b"first key")
NEW = (CERT, KEY)
OTHER = (b"other certificate", b"other key")


def test_without_a_marker_the_first_files_are_used():
    empty()
    assert in_use() == FIRST
    fill("a")
    assert in_use() == FIRST
    assert slots.path("config.json") == "config.json"
    assert slots.path(None) is None


def test_a_switch_and_back():
    empty()
    fill("a")
    rotation.switch("a")
    assert in_use() == NEW
    assert slots.path("certs/device.crt.der") == "slot_a/device.crt.der"
    assert slots.path("pins.json") == "pins.json"
    put("slot.new", b"a\n")
    rotation.switch(None)
    assert in_use() == FIRST


def test_a_slot_that_is_not_whole_is_never_used():
    for name, data in (
        ("device.key.der", None),
        ("device.crt.der", b"short"),
        ("complete", None),
        ("complete", b""),
        ("complete", b'{"made": 1, "files": {"device'),
        ("complete", b'{"made": 1}'),
        ("complete", b'{"made": "1", "files": {}}'),
        ("complete", b'{"made": 1, "files": ["device.crt.der"]}'),
        ("complete", b'{"made": 1, "files": {"device.crt.der": [15]}}'),
        ("complete", b'{"made": 1, "files": {"device.crt.der": 15}}'),
        ("complete", b'{"made": 1, "files": {"../device.crt.der": [17, "' + b"0" * 64 + b'"]}}'),
        ("complete", b"[[[[[[[[" * 200),
        ("complete", b"\xff\xfe\x00"),
        ("complete", b" " * 5000),
    ):
        for other in (False, True):
            empty()
            fill("a", 2)
            if other:
                fill("b", 1, *OTHER)
            rotation.switch("a")
            assert in_use() == NEW
            if data is None:
                os.remove(FLASH + "slot_a/" + name)
            else:
                put("slot_a/" + name, data)
            logged.clear()
            assert in_use() == (OTHER if other else FIRST), (name, data)
            assert logged[0][:23] == "slot a is not whole; us", logged


def test_a_slot_never_connected_with_is_no_refuge():
    empty()
    fill("a")
    fill("b", 5, *OTHER, tried=False)
    rotation.switch("a")
    os.remove(FLASH + "slot_a/complete")
    assert in_use() == FIRST


def test_a_marker_that_is_nonsense():
    for data in (b"", b"a", b"c\n", b"ab\n", b"\xff\n", b"a\nb\n", b"A\n", b"a" * 5000):
        empty()
        put("slot", data)
        logged.clear()
        assert in_use() == FIRST
        assert "marker cannot be read" in logged[0]
        fill("a", 7)
        fill("b", 8, *OTHER)
        assert in_use() == OTHER  # the newest that has been connected with
        put("slot.new", b"a\n")
        assert in_use() == NEW
        rotation.switch("b")
        assert in_use() == OTHER
    empty()
    os.mkdir(FLASH + "slot")
    try:
        assert in_use() == FIRST
    finally:
        os.rmdir(FLASH + "slot")


def test_a_new_marker_left_alone_counts_if_it_is_whole():
    for data, used in ((b"a\n", NEW), (b"a", FIRST), (b"", FIRST), (b"b\n", NEW)):
        empty()
        fill("a")
        put("slot.new", data)
        assert in_use() == used


def refused(function, *args):
    try:
        function(*args)
    except RootletError as e:
        assert e.code == "SLOT"
        return e.fact
    raise AssertionError("accepted")


def test_what_is_refused():
    empty()
    assert "not whole" in refused(rotation.switch, "a")
    fill("a")
    rotation.switch("a")
    power_up()
    assert "in use" in refused(rotation.clear, "a")
    rotation.clear("b")
    put("slot_b/x", b"what came")
    for row in ([9, "0" * 64], [8, binascii.hexlify(hashlib.sha256(b"what came").digest()).decode()]):
        assert "slot_b/x is not what was sent" in refused(rotation.seal, "b", 1, {"x": row})
    assert "is not what was sent" in refused(rotation.seal, "b", 1, {"y": [0, "0" * 64]})
    assert slots.complete("b") is None


def test_files_that_stay_are_carried_over():
    empty()
    fill("a")
    put("slot_a/device.key.der", KEY * 100)
    rotation.clear("b")
    rotation.carry("a", "b", ["device.key.der"])
    with open(FLASH + "slot_b/device.key.der", "rb") as f:
        assert f.read() == KEY * 100


def cut_everywhere(prepare, act, before, after, fat):
    """Cut `act` off at each change of the flash; each time it is the old or the new files, and a repetition works."""
    seen = set()
    for cut_at in range(1, 200):
        empty()
        prepare()
        flash = power_up(cut_at, fat)
        try:
            act()
        except Cut:
            pass
        if flash.changes < cut_at:
            assert in_use() == after
            assert before in seen
            return
        logged.clear()
        used = in_use()
        assert not [line for line in logged if "cannot be read" in line], cut_at
        assert used in (before, after), (cut_at, used)
        seen.add(used)
        power_up(None, fat)
        act()
        assert in_use() == after
    raise AssertionError("no end")


def test_a_switch_cut_off_anywhere():
    def first():
        fill("a")

    def second():
        fill("a", 1, *OTHER)
        rotation.switch("a")
        fill("b", 2)

    def interrupted():
        fill("a", 1, *OTHER)
        put("slot.new", b"a\n")  # as FAT leaves it
        fill("b", 2)

    for fat in (False, True):
        cut_everywhere(first, lambda: rotation.switch("a"), FIRST, NEW, fat)
        cut_everywhere(second, lambda: rotation.switch("b"), OTHER, NEW, fat)
        cut_everywhere(interrupted, lambda: rotation.switch("b"), OTHER, NEW, fat)
        cut_everywhere(second, lambda: rotation.switch(None), OTHER, FIRST, fat)


def test_filling_a_slot_cut_off_anywhere():
    def prepare():
        fill("b", 1, b"oldest certificate", b"oldest key")
        fill("a", 2, *OTHER)
        rotation.switch("a")

    for fat in (False, True):
        cut_everywhere(prepare, lambda: fill("b", 3), OTHER, OTHER, fat)


def test_filling_the_slot_that_would_be_the_refuge():
    """While it is filled it is whole and connected with, or not used."""
    for cut_at in range(1, 30):
        empty()
        fill("b", 1, *OTHER)
        fill("a", 2)
        rotation.switch("a")
        power_up(cut_at)
        try:
            fill("b", 3, b"untried certificate", b"untried key", tried=False)
        except Cut:
            pass
        put("slot_a/complete", b"")
        assert in_use() in (OTHER, FIRST)


def test_the_configuration_names_what_is_in_use():
    def settings():
        return {"mqtt": {"pins": ["old"], "cert": "device.crt.der", "key": "device.key.der"}, "https": None}

    empty()
    assert slots.applied(settings()) == settings()
    fill("a")
    rotation.switch("a")
    power_up()
    slots.start(log)
    m = slots.applied(settings())["mqtt"]
    assert (m["cert"], m["key"], m["pins"]) == ("slot_a/device.crt.der", "slot_a/device.key.der", ["old"])
    put("pins.json", b'{"mqtt": ["sha256//x"], "https": ["y"]}')
    assert slots.applied(settings())["mqtt"]["pins"] == ["sha256//x"]
    assert slots.applied(settings())["https"] is None
    put("pins.json", b'{"mqtt": null}')
    assert slots.applied(settings())["mqtt"]["pins"] is None
    for bad in (b"", b"{", b"3", b"null", b"[]", b'{"mqttt": null}', b'{"mqtt": []}', b'{"mqtt": 5}', b'{"mqtt": "x"}'):
        put("pins.json", bad)
        refused(slots.applied, settings())


def test_the_cert_module_of_the_slot_is_imported():
    import sys

    empty()
    put("trust_of_slots.py", b"ROOTS = 'beside main.py'\n")
    rotation.clear("a")
    put("slot_a/trust_of_slots.py", b"ROOTS = 'in slot a'\n")
    size = [20, binascii.hexlify(hashlib.sha256(b"ROOTS = 'in slot a'\n").digest()).decode()]
    rotation.seal("a", 1, {"trust_of_slots.py": size})
    path, former = list(sys.path), os.getcwd()
    sys.path.insert(0, "")
    os.chdir(FLASH)
    try:
        for slot, roots in (("a", "in slot a"), (None, "beside main.py")):
            slots.use(slot, log)
            sys.modules.pop("trust_of_slots", None)
            if hasattr(sys, "path_importer_cache"):
                sys.path_importer_cache.clear()
            assert slots.load_module("trust_of_slots").ROOTS == roots
    finally:
        sys.path[:] = path
        os.chdir(former)
