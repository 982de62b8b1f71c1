"""boot.py, trees, the board's part of a deployment: cut off at every change of the flash, a whole version starts."""

import binascii
import gc
import hashlib
import json
import os

from cut_flash import Cut, Flash, folder

if not hasattr(gc, "threshold"):
    gc.threshold = lambda *_: None

import rootlet

FIRMWARE = rootlet.__file__.rsplit("/", 2)[0]
SOURCES = ("/boot.py", "/rootlet/trees.py", "/../host_tools/on_board/deploying.py")

FLASH = folder("flash_trees")
said: list = []
# As the host sends them: one after the other, with the same names.
code: dict = {"__name__": "sent", "print": lambda *words: said.append(" ".join([str(word) for word in words]))}
for name in SOURCES:
    with open(FIRMWARE + name) as f:
        exec(f.read(), code)


class Sys:
    """sys as after a restart."""

    class implementation:
        version = (1, 28, 0)
        _mpy = 2822

    def __init__(self):
        self.path = ["", ".frozen", "/lib"]


def power_up(cut_at=None, fat=False):
    """As after a restart, before boot.py."""
    flash = Flash(FLASH, cut_at, fat)
    code["os"], code["open"], code["sys"] = flash, flash.open, Sys()
    return flash


def exists(path):
    try:
        os.stat(FLASH + path)
        return True
    except OSError:
        return False


def read(path):
    with open(FLASH + path, "rb") as f:
        return f.read()


def put(path, data):
    with open(FLASH + path, "wb") as f:
        f.write(data)


def wipe(folder):
    for name in os.listdir(FLASH + folder):
        if os.stat(FLASH + folder + name)[0] & 0x4000:
            wipe(folder + name + "/")
            os.rmdir(FLASH + folder + name)
        else:
            os.remove(FLASH + folder + name)


def empty():
    wipe("")
    said.clear()
    power_up()


def flat():
    """A board from before there were trees."""
    empty()
    os.mkdir(FLASH + "rootlet")
    put("rootlet/gateway.mpy", b"program 0")
    put("config.json", b"config 0")
    put("boot.py", b"boot 0")
    put("main.py", b"main 0")


def row(data):
    return [len(data), binascii.hexlify(hashlib.sha256(data).digest()).decode()]


def version(n):
    """The files of a version; one is in all of them, one is not in version 2."""
    text = str(n).encode()
    files = {"rootlet/gateway.mpy": b"program " + text, "board.json": b"board of all"}
    files["two" if n == 2 else "other"] = text
    return files


def send(path, data):
    """A file comes over the wire."""
    with code["open"](path, "wb") as f:
        f.write(data)


def deploy(n, made=None, config=True):
    """What the host does, in its order. n: the version, also of the files at the root."""
    files = version(n)
    state = {"config.json": b"config " + str(n).encode()} if config else {}
    code["start"]()  # main.py has not run
    code["facts"]([], [])
    active = code["running"]()
    tree = "b" if active == "a" else "a"
    target = "app_" + tree + "/"
    former = "app_" + active + "/" if active else ""
    stale = [
        name[len(target) :]
        for name in code["walk"](target[:-1])
        if name[len(target) :] not in files and name[len(target) :] not in ("complete", "tried", "starts")
    ]
    copies = [(former + name, name) for name in files if exists(former + name) and read(former + name) == files[name]]
    code["begin"](tree, stale, ["former", "rootlet", "state"], copies)
    for name in files:
        if former + name not in [source for source, _ in copies]:
            send(target + name, files[name])
    for name in state:
        send(target + "state/" + name, state[name])
    root = {"boot.py": b"boot " + str(n).encode(), "main.py": b"main " + str(n).encode()}
    for name in root:
        send(name + ".new", root[name])
    listing = {"made": made or n, "files": {}, "state": {}}
    for key, group in (("files", files), ("state", state)):
        for name in group:
            listing[key][name] = row(group[name])
    send(target + "complete.new", json.dumps(listing).encode())
    code["seal"](tree)
    code["install"]({name: row(root[name]) for name in root})
    code["switch"](tree)


def start():
    """The board starts: what boot.py and main.py do before the gateway runs."""
    if exists("boot.py"):
        assert not exists("main.py") or read("main.py")[:5] == b"main "
    else:  # only FAT; main.py then does this
        assert read("main.py")[:5] == b"main "
        os.rename(FLASH + "boot.py.new", FLASH + "boot.py")
        assert len(read("boot.py")) == 6
    code["sys"] = Sys()
    code["start"]()
    assert len(read("main.py")) == 6
    code["settle"]()


def running():
    """(version, its configuration) after a restart; every file of the version is checked."""
    power_up()
    start()
    return what_runs()


def what_runs():
    tree = code["running"]()
    folder = "app_" + tree + "/" if tree else ""
    n = int(read(folder + "rootlet/gateway.mpy").split()[1])
    if tree:
        for name in version(n):
            assert read(folder + name) == version(n)[name]
    return n, int(read("config.json").split()[1])


def worked():
    code["confirm"](lambda *_: None)


def failed_starts(tree, n=3):
    put("app_" + tree + "/starts", b"." * n)


def first():
    flat()


def second():
    flat()
    deploy(1)
    assert running() == (1, 1)
    worked()
    power_up()


def third():
    second()
    deploy(2)
    assert running() == (2, 2)
    worked()
    power_up()


def on_trial():
    second()
    deploy(2)
    assert running() == (2, 2)
    power_up()


def cut_everywhere(prepare, act, before, after):
    """Cut `act` off at each change: each time one version runs, whole, with its own state; repeating it works."""
    for fat in (False, True):
        seen = set()
        for cut_at in range(1, 400):
            prepare()
            flash = power_up(cut_at, fat)
            try:
                act()
            except Cut:
                pass
            ended = flash.changes < cut_at
            try:
                found = running()
            except Exception as e:
                raise AssertionError("cut %d, fat %s: %r; %s" % (cut_at, fat, e, sorted(os.listdir(FLASH)))) from None
            assert found in (before, after), (cut_at, fat, found)
            seen.add(found)
            if ended:
                assert found == after
                break
            power_up(None, fat)
            act()
            assert running() == after, (cut_at, fat)
        else:
            raise AssertionError("no end")
        assert before in seen and cut_at > 1


def test_a_deployment_over_the_old_layout_cut_off_anywhere():
    cut_everywhere(first, lambda: deploy(1), (0, 0), (1, 1))


def test_a_deployment_cut_off_anywhere():
    cut_everywhere(second, lambda: deploy(2), (1, 1), (2, 2))
    cut_everywhere(third, lambda: deploy(3), (2, 2), (3, 3))


def test_names_that_are_no_longer_there_go():
    third()
    deploy(3)
    assert running() == (3, 3)
    power_up()
    deploy(4)
    assert running() == (4, 4)
    assert not exists("app_b/two")


def test_a_deployment_over_a_tree_on_trial():
    cut_everywhere(on_trial, lambda: deploy(3), (2, 2), (3, 3))
    cut_everywhere(on_trial, lambda: deploy(3, config=False), (2, 2), (3, 2))


def test_a_deployment_after_one_cut_off_between_two_names_of_the_marker():
    def prepare():
        third()
        os.rename(FLASH + "app", FLASH + "app.new")  # as FAT leaves it

    cut_everywhere(prepare, lambda: deploy(3), (2, 2), (3, 3))


def test_a_deployment_after_one_cut_off_between_two_names_of_a_file_at_the_root():
    for name in ("boot.py", "main.py"):

        def prepare(name=name):
            third()
            os.rename(FLASH + name, FLASH + name + ".new")

        cut_everywhere(prepare, lambda: deploy(3), (2, 2), (3, 3))


def test_the_tree_that_is_filled_is_no_refuge():
    """The tree that runs is damaged while the other, which has worked, is filled: no mixture starts."""
    seen = set()
    for cut_at in range(1, 60):
        third()
        power_up(cut_at)
        try:
            deploy(3)
        except Cut:
            pass
        put("app_b/complete", b"")
        if exists("rootlet/gateway.mpy"):
            wipe("rootlet/")
        power_up()
        start()
        seen.add(what_runs()[0] if code["running"]() else 0)  # looks at every file of it
    assert seen == {0, 1, 3}


def test_a_first_start_cut_off_anywhere():
    def prepare():
        second()
        deploy(2)

    for act in (start, lambda: (start(), worked())):
        for fat in (False, True):
            for cut_at in range(1, 20):
                prepare()
                flash = power_up(cut_at, fat)
                try:
                    act()
                except Cut:
                    pass
                assert running() == (2, 2)
                assert not exists("app_b/tried") or not os.listdir(FLASH + "app_b/former")
                if flash.changes < cut_at:
                    break
            assert cut_at > 2


def test_going_back_cut_off_anywhere():
    def to_flat():
        flat()
        deploy(1)
        assert running() == (1, 1)

    def back(tree):
        start()
        if code["running"]() not in (tree, None):
            code["back"](tree)

    cut_everywhere(on_trial, lambda: back("a"), (2, 2), (1, 1))
    cut_everywhere(to_flat, lambda: back(None), (1, 1), (0, 0))
    to_flat()
    back(None)
    assert what_runs() == (0, 0)  # at once: the old program knows nothing of trees


def test_three_starts_without_a_connection():
    for n, expected in ((0, (2, 2)), (2, (2, 2)), (3, (1, 1))):
        on_trial()
        failed_starts("b", n)
        assert running() == expected
    assert [line for line in said if "app_b does not connect; going back" in line]
    # And after that, the next deployment takes the tree that failed.
    assert running() == (1, 1)
    deploy(3)
    assert running() == (3, 3) and code["running"]() == "b"
    # One that has worked is not given up, whatever is offline later.
    worked()
    failed_starts("b")
    assert running() == (3, 3)


def test_going_back_by_itself_cut_off_anywhere():
    for fat in (False, True):
        for cut_at in range(1, 20):
            on_trial()
            failed_starts("b")
            flash = power_up(cut_at, fat)
            try:
                start()
            except Cut:
                pass
            assert running() == (1, 1)
            if flash.changes < cut_at:
                break
        assert cut_at > 1


def test_a_first_version_that_fails_goes_back_to_the_old_layout_if_there_is_one():
    flat()
    deploy(1)
    assert running() == (1, 1)
    failed_starts("a")
    assert running() == (0, 0)
    flat()
    deploy(1)
    wipe("rootlet/")
    failed_starts("a")
    assert running() == (1, 1)  # nothing to go back to


def test_a_marker_that_is_nonsense():
    for data in (b"", b"a", b"c\n", b"ab\n", b"\xff\n", b"b\nb\n", b"B\n", b"b" * 5000):
        third()
        put("app", data)
        assert running() == (2, 2)  # the newest that has worked
        put("app.new", b"a\n")
        power_up()
        assert code["choose"]() == "a"
    third()
    os.remove(FLASH + "app")
    os.mkdir(FLASH + "app")
    assert running() == (2, 2)
    os.rmdir(FLASH + "app")
    assert running()[0] == 0  # no marker: the program beside main.py
    wipe("rootlet/")
    assert running()[0] == 2  # there is none


def test_a_tree_that_is_not_whole_is_never_used():
    for name, data in (
        ("rootlet/gateway.mpy", None),
        ("board.json", b"short"),
        ("complete", None),
        ("complete", b""),
        ("complete", b'{"made": 1, "files": {"board'),
        ("complete", b'{"made": 1}'),
        ("complete", b'{"made": "1", "files": {}}'),
        ("complete", b'{"made": 1, "files": ["board.json"]}'),
        ("complete", b'{"made": 1, "files": {"board.json": 15}}'),
        ("complete", b"[" * 2000),
        ("complete", b"\xff\xfe\x00"),
        ("complete", b" " * 17000),
    ):
        third()
        if data is None:
            os.remove(FLASH + "app_b/" + name)
        else:
            put("app_b/" + name, data)
        assert running()[0] == 1, (name, data)
        assert [line for line in said if "app_b is not whole; going back" in line]


def test_what_was_not_sent_whole_is_not_sealed():
    second()
    start()
    code["begin"]("b", [], ["state"], [])
    for found, listed in ((b"what came", b"what was sent"), (None, b"x"), (b"same size", b"Same size")):
        if found:
            put("app_b/x", found)
        else:
            wipe("app_b/")
            os.mkdir(FLASH + "app_b/state")
        put("app_b/complete.new", json.dumps({"made": 1, "files": {"x": row(listed)}, "state": {}}).encode())
        try:
            code["seal"]("b")
        except ValueError as e:
            assert "app_b/x is not what was sent" in str(e)
        else:
            raise AssertionError("sealed")
    assert not exists("app_b/complete")
    try:
        code["begin"]("a", [], [], [])
    except ValueError as e:
        assert "in use" in str(e)
    else:
        raise AssertionError("began in the tree that runs")
    assert running() == (1, 1)


def test_tidying_up():
    third()
    start()
    code["tidy"](["rootlet/gateway.mpy", "roots.bin"])
    code["erase"]("app_a")
    assert not exists("rootlet") and not exists("app_a")
    assert running() == (2, 2)


def test_where_the_program_finds_its_files():
    third()
    start()
    put("roots.bin", b"at the root")
    assert code["path"]("board.json") == "/app_b/board.json"
    assert code["path"]("roots.bin") == "roots.bin"
    assert code["path"](None) is None
    flat()
    start()
    assert code["path"]("board.json") == "board.json"
