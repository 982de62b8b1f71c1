"""commands: what is no command, who may what, one a second, and nothing twice, whatever comes again."""

import gc
import json
import os
import time

try:
    from tempfile import TemporaryDirectory

    place = TemporaryDirectory()
    FOLDER = place.name
except ImportError:  # MicroPython is started in a folder of its own
    FOLDER = os.getcwd()

from rootlet import commands, config
from rootlet.errors import RootletError

commands.PATH = FOLDER + "/command.json"
ALL = commands.NAMES
TOPIC = b"rootlet/dev-1/cmd"


class Clock:
    now = 1000

    @staticmethod
    def ticks_ms():
        return Clock.now

    ticks_add = staticmethod(time.ticks_add)
    ticks_diff = staticmethod(time.ticks_diff)


commands.time = Clock


def message(number="a1", command="status", **more):
    return json.dumps(dict({"id": number, "command": command}, **more)).encode()


def refused(text, allowed=ALL):
    try:
        commands.parse(text, allowed)
    except RootletError as e:
        assert e.code == "COMMAND"
        return e
    raise AssertionError("accepted: %s" % text)


def clean():
    for name in (commands.PATH, commands.PATH + ".new"):
        try:
            os.remove(name)
        except OSError:
            pass


class Board:
    """Counts what is executed."""

    def __init__(self, allowed=ALL):
        self.done: list = []
        self.error = None
        self.commands = commands.Commands(TOPIC, allowed, {name: self._made(name) for name in ALL})

    def _made(self, name):
        def execute(number, args):
            if self.error:
                raise self.error
            self.done.append((name, args))
            return {"seen": len(self.done)}

        return execute

    def send(self, text, **more):
        self.commands.receive(TOPIC, text, **more)

    def step(self):
        Clock.now += 1000
        text = self.commands.step()
        return text and json.loads(text)


def test_good_ones():
    url = "https://updates.example/v2.bin?key=1"
    for command, args in (
        ("status", {}),
        ("reboot", {}),
        ("interval", {"sensor": "chip", "every_s": 0.05}),
        ("interval", {"sensor": "chip", "every_s": 86400}),
        ("rotate", {"slot": "b"}),
        ("update", {"url": url}),
    ):
        assert commands.parse(message("x.Y_1-z", command, **args), ALL) == ("x.Y_1-z", command, args)


def test_bad_ones():
    for text in (
        b"", b"{", b"[]", b"null", b"7", b'"status"', b"\xff\xfe", b'{"id": "a"', b"[" * 1000, b'{"a":' * 200,
        b"{}", message(7), message(""), message("a" * 33), message("a b"), message("\u00e9"), message(None),
        message(["a"]), message(command=7), message(command="format"), message(command=None),
        message(command=["status"]),
        message(more=1), message("a" * 32, "reboot", now=True), message(command="interval"),
        message(command="interval", sensor="chip"), message(command="interval", sensor="", every_s=1),
        message(command="interval", sensor="../x", every_s=1), message(command="interval", sensor=1, every_s=1),
        message(command="interval", sensor="chip", every_s=0.01),
        message(command="interval", sensor="chip", every_s=86401),
        message(command="interval", sensor="chip", every_s=True),
        message(command="interval", sensor="chip", every_s="1"),
        message(command="interval", sensor="chip", every_s=1, more=1),
        message(command="interval", sensor="chip", every_s=-1),
        b'{"id": "a", "command": "interval", "sensor": "chip", "every_s": 1e999}',
        b'{"id": "a", "command": "interval", "sensor": "chip", "every_s": 1' + b"0" * 400 + b"}",
        b'{"id": "a", "command": "interval", "sensor": "chip", "every_s": NaN}',
        message(command="update"), message(command="update", url="http://updates.example/x"),
        message(command="update", url="https://"),
        message(command="update", url="https://a b"), message(command="update", url="https://a/\n"),
        message(command="update", url="https://" + "a" * 505), message(command="update", url="https://\u00e9"),
        message(command="rotate"), message(command="rotate", slot="c"), message(command="rotate", slot=["a"]),
        message(command="rotate", slot="../a"), message() + b" " * 1024,
    ):  # fmt: skip
        refused(text)


def test_only_what_is_allowed():
    assert "not in mqtt.commands" in refused(message(command="reboot"), ["status"]).fact
    assert commands.parse(message(), ["status"])[1] == "status"
    refused(message(), [])
    assert config.COMMANDS == commands.NAMES


def test_an_error_repeats_nothing_and_says_whom_to_answer():
    secret = "hunter2hunter2"
    for text, number in (
        (message("a1", secret), "a1"),
        (message("a1", "status", **{secret: 1}), "a1"),
        (message("a1", "update", url="http://x/?key=" + secret), "a1"),
        (message("a1", "interval", sensor=secret + "/", every_s=1), "a1"),
        (message(secret + "!"), None),
        (secret.encode(), None),
    ):
        e = refused(text)
        assert secret not in e.fact and e.number == number, (e.fact, e.number)


def test_receive_executes_nothing_and_step_does():
    clean()
    board = Board()
    assert board.step() is None
    board.send(message("n1"))
    board.commands.receive(b"rootlet/dev-1/cmd/other", message("n2"))
    assert board.done == []
    assert board.step() == {"id": "n1", "command": "status", "ok": True, "seen": 1}
    assert board.done == [("status", {})] and board.step() is None


def test_one_a_second_and_a_bounded_queue():
    clean()
    board = Board()
    for n in range(100):
        board.send(message("n%d" % n) + b" " * 5000 * (n == 3))
    assert board.commands.dropped == 96 and len(board.commands._waiting) == 4
    assert sum(len(text) for text in board.commands._waiting) < 4 * 1100
    said = board.step()
    assert said["id"] == "n4" and said["ok"] is False and "busy" in said["error"]["fact"]
    seen = []
    for _ in range(30):  # 30 times a tenth of a second
        Clock.now += 100
        text = board.commands.step()
        if text:
            seen.append(json.loads(text)["id"])
    assert seen == ["n0", "n1", "n2"], seen
    said = board.step()
    assert said["id"] is None and "longer" in said["error"]["fact"]
    assert board.step() is None and len(board.done) == 3


def test_what_comes_again_is_not_executed_again():
    clean()
    board = Board()
    for _ in range(3):
        board.send(message("n1", "interval", sensor="chip", every_s=1))
    assert [board.step().get("repeated", False) for _ in range(3)] == [False, True, True]
    assert len(board.done) == 1
    for n in range(20):  # only so many are remembered, in bounded memory
        board.send(message("m%d" % n))
        board.step()
    assert len(board.commands._recent) == 8
    board.send(message("m19"))
    assert board.step()["ok"] is False


def test_a_reboot_that_is_delivered_at_each_start_happens_once():
    clean()
    for start in range(5):
        board = Board()
        board.send(message("r1", "reboot"))
        said = board.step()
        assert board.done == ([("reboot", {})] if start == 0 else []), start
        assert said["ok"] is (start == 0) and said.get("repeated", False) is (start > 0)
    for n in range(3):  # three of them, and others between, are all known
        board.send(message("u%d" % n, "update", url="https://x/y"))
        board.step()
        for m in range(9):
            board.send(message("s%d-%d" % (n, m)))
            board.step()
    board = Board()
    for number, command, more in (("r1", "reboot", {}), ("u0", "update", {"url": "https://x/y"})):
        board.send(message(number, command, **more))
        assert board.step()["repeated"] is True
    assert board.done == []
    board.send(message("r2", "reboot"))
    assert board.step()["ok"] is True


def test_a_retained_command_is_refused():
    clean()
    board = Board()
    board.send(message("r1", "reboot"), retained=True)
    assert board.step() is None and board.done == []


def test_kept_before_it_is_executed():
    clean()
    board = Board()
    board.error = RootletError("UPDATE", "of this test")
    board.send(message("u1", "update", url="https://x/y"))
    said = board.step()
    assert said["ok"] is False and said["error"] == {"code": "UPDATE", "fact": "of this test"}
    with open(commands.PATH) as f:
        assert json.load(f) == ["u1"]


def test_a_full_flash_executes_nothing_that_restarts():
    clean()
    board = Board()
    path = commands.PATH
    commands.PATH = FOLDER + "/absent/command.json"
    try:
        board.send(message("r1", "reboot"))
        assert board.step()["error"]["code"] == "COMMAND" and board.done == []
        board.send(message("s1"))
        assert board.step()["ok"] is True
    finally:
        commands.PATH = path


def test_a_damaged_file_is_not_believed():
    good = json.dumps(["n%d" % n for n in range(20)])
    for text, known in (
        ("", []), ("{}", []), ("7", []), ("null", []), ("\x00" * 50, []),
        ('["a", 7, null, "b c", "' + "x" * 33 + '"]', ["a"]),
        ("[" * 500, []), (good[:30], []), (good, ["n%d" % n for n in range(12, 20)]),
    ):  # fmt: skip
        with open(commands.PATH, "w") as f:
            f.write(text)
        assert commands._load() == known, text
    clean()


def test_answers_are_bounded():
    assert json.loads(commands.answer("n1", "status", free=7)) == {
        "id": "n1",
        "command": "status",
        "ok": True,
        "free": 7,
    }
    gc.collect()  # 5,000 B in one piece, of 128 KB with a compiler in it
    text = commands.answer("n1", "status", RootletError("COMMAND", "y" * 5000), much="x" * 5000)
    assert len(text) <= commands.LONGEST and json.loads(text)["error"]["code"] == "COMMAND"
