"""The virtual board, used as a real one is: by mpremote, in processes of its own."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.sim.serve import serve

NETWORKS = {
    "home": {"password": "right", "join_ms": 100},
    "open": {"join_ms": 100},
    "nodhcp": {"password": "right", "dhcp": False, "join_ms": 100},
    "full": {"refuse": True, "join_ms": 100},
}
SCRIPT: dict[str, Any] = {
    "wifi": {"networks": NETWORKS, "scan_ms": 100},
    "sensors": {
        "temperature_c": 31,
        "adc": {"26": 12345, "32": 23456},
        "dht": {"15": {"temperature": 21.5, "humidity": 40}},
        "ds18x20": {"22": [19.5, -3.25]},
    },
}
TICKING = "import time\nprint('main runs')\nwhile True:\n    time.sleep_ms(5)\n    print('tick')\n"


def mpremote(board: VirtualBoard, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", board.port, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "flash"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module", params=["pico_w", "esp32_s3"])
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("flash"), board=request.param, script=SCRIPT) as virtual:
        virtual.update_script(SCRIPT)
        yield virtual


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("flash"), script=SCRIPT) as virtual:
        yield virtual


def is_rp2(board: VirtualBoard) -> bool:
    return mpremote(board, "exec", "import sys; print(sys.platform)").strip() == "rp2"


def processes_about(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line and b"heapsize" in line:
                found.append(int(entry.name))
    return found


def test_boot_and_main_run_in_order_and_share_names(files: Path) -> None:
    (files / "boot.py").write_text("x = 6\nprint('boot runs')\n")
    (files / "main.py").write_text("print('main runs', x * 7, __name__)\n1 / 0\n")
    with VirtualBoard(files) as board:
        board.wait_for("^>>> ")  # an exception in main.py ends at the prompt
        assert re.search(
            r'boot runs\nmain runs 42 __main__\nTraceback.*\n  File "main.py", line 2.*\nZeroDivisionError',
            board.output,
        )


def test_an_exception_in_boot_keeps_main_from_running(files: Path) -> None:
    (files / "boot.py").write_text("print('boot runs')\nno_such_name\n")
    (files / "main.py").write_text("print('main runs')\n")
    with VirtualBoard(files) as board:
        board.wait_for("^>>> ")
        assert "NameError" in board.output and "main runs" not in board.output


def test_eval_interrupts_main(files: Path) -> None:
    (files / "main.py").write_text(TICKING)
    with VirtualBoard(files) as board:
        board.wait_for("tick")
        assert mpremote(board, "eval", "1+1") == "2\n"
        assert "KeyboardInterrupt" in board.output


def test_files_run_and_soft_reset_by_mpremote(files: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "answer.py").write_text("def answer():\n    return 42\n")
    (tree / "big.bin").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "main.py").write_text(TICKING)
    (tmp_path / "job.py").write_text("from tree.sub.answer import answer\nprint('says', answer())\n")
    with VirtualBoard(files) as board:
        mpremote(
            board,
            "fs",
            "mkdir",
            ":logs",
            "+",
            "fs",
            "cp",
            "-r",
            str(tree),
            ":",
            "+",
            "fs",
            "cp",
            str(tmp_path / "main.py"),
            ":",
        )
        assert (files / "tree" / "big.bin").read_bytes() == bytes(range(256)) * 40
        assert {"main.py", "tree/", "logs/"} <= set(mpremote(board, "fs", "ls").split())
        assert "says 42" in mpremote(board, "run", str(tmp_path / "job.py"))
        assert re.search(r" 868352 +\d+ +8\d{5} ", mpremote(board, "df"))
        at = board.position
        mpremote(board, "reset")
        board.wait_for("main runs", since=at)
        board.wait_for("tick", since=at)
        # Without `resume`, and while main.py runs.
        assert mpremote(board, "soft-reset", "+", "exec", "print('after')") == "after\n"
        fetched = tmp_path / "fetched.bin"
        mpremote(board, "fs", "cp", ":tree/big.bin", str(fetched))
        assert fetched.read_bytes() == (tree / "big.bin").read_bytes()


def test_soft_reset_clears_names_and_runs_boot_again(files: Path) -> None:
    (files / "boot.py").write_text("print('boot runs')\n")
    (files / "main.py").write_text("print('main runs')\n")
    with VirtualBoard(files) as board:
        board.wait_for("main runs")
        at = board.position
        assert "NameError" in mpremote(board, "exec", "x = 1", "soft-reset", "exec", "print(x)", code=1)
        assert board.output.count("boot runs", len(board.output) - (board.position - at)) >= 2
        assert "main runs" not in board.output[-(board.position - at) :]  # not in raw mode


def test_machine_resets(files: Path) -> None:
    (files / "main.py").write_text("print('main runs')\n")
    with VirtualBoard(files) as board:
        board.wait_for("main runs")
        at = board.position
        mpremote(
            board, "exec", "--no-follow", "try:\n import machine; machine.reset()\nexcept BaseException: print('on')"
        )
        board.wait_for("main runs", since=at)
        at = board.position
        board.reset()
        board.wait_for("main runs", since=at)
        assert "soft reboot" not in board.output[-(board.position - at) :]


def test_system_exit_in_main_is_a_soft_reset(files: Path) -> None:
    (files / "main.py").write_text(
        "import os\nif 'once' in os.listdir():\n print('again')\nelse:\n open('once', 'w').close()\n raise SystemExit\n"
    )
    with VirtualBoard(files) as board:
        board.wait_for("MPY: soft reboot")
        board.wait_for("again")


def test_watchdog_resets_a_board_that_hangs(files: Path) -> None:
    (files / "main.py").write_text(
        "import machine\nif machine.reset_cause() == machine.WDT_RESET:\n print('bitten')\n"
        "else:\n w = machine.WDT(timeout=100)\n while True: pass\n"
    )
    with VirtualBoard(files) as board:
        board.wait_for("bitten")


def test_code_on_the_board_sees_only_the_board(files: Path) -> None:
    (files / "here.txt").write_text("x")
    secret = files.parent / "secret.txt"
    secret.write_text("not for the board")
    code = f"""
import os, sys, vfs
print(os.listdir('/'))
for path in ('/etc', '/etc/passwd', '/rom', '/../secret.txt', '../secret.txt', '{secret}'):
    try:
        os.stat(path)
        print('LEAK', path)
    except OSError:
        pass
try:
    open('/../secret.txt')
    print('LEAK open')
except OSError:
    pass
print(sys.path, sys.argv, [hasattr(os, name) for name in ('getenv', 'system')], hasattr(vfs, 'VfsPosix'), os.getcwd())
print({{name: getattr(module, '__file__', '') for name, module in sys.modules.items()}})
"""
    with VirtualBoard(files) as board:
        said = mpremote(board, "exec", code)
    assert said.splitlines()[0] == "['here.txt']"
    assert "LEAK" not in said and str(files.parent) not in said and str(ROOT) not in said
    assert "['', '.frozen', '/lib'] [] [False, False] False /" in said


def test_heap_is_that_of_the_board(pico: VirtualBoard) -> None:
    code = """
import gc
gc.collect()
print(gc.mem_free())
for size in (60000, 180000, 243000):
    try:
        gc.collect()
        bytearray(size)
        print('ok')
    except MemoryError:
        print('MemoryError')
a = bytearray(60000)
try:
    bytearray(180000)
except MemoryError:
    print('together MemoryError')
"""
    lines = mpremote(pico, "exec", code).splitlines()
    assert 230_000 < int(lines[0]) < 242_048
    assert lines[1:] == ["ok", "ok", "MemoryError", "together MemoryError"]


_JOIN = """
import network, time
w = network.WLAN(network.STA_IF)
out = [w.status()]
w.active(True)
tries = ('home', 'right'), ('home', 'wrong'), ('away', 'x'), ('nodhcp', 'right'), ('open', None), ('full', None)
for ssid, key in tries:
    w.disconnect()
    w.connect(ssid, key)
    first = w.status()
    time.sleep_ms(130)
    out.append((ssid, first, w.status(), w.isconnected(), w.ifconfig()[0]))
w.config(pm=w.PM_NONE)
out.append((network.STAT_IDLE, network.STAT_GOT_IP, network.STAT_WRONG_PASSWORD, w.config('pm'), network.hostname()))
out.append(sorted(row[0] for row in w.scan()))
print(out)
"""


def test_wifi_status_numbers_of_the_port(board: VirtualBoard) -> None:
    said = eval(mpremote(board, "exec", _JOIN))
    if is_rp2(board):
        idle, joining, up, wrong, no_ap, no_ip, failed = 0, 1, 3, -3, -2, 2, -1
        assert said[-2] == (0, 3, -3, 0x10, "PicoW")
    else:
        idle, joining, up, wrong, no_ap, no_ip, failed = 1000, 1001, 1010, 202, 201, 1001, 203
        assert said[-2] == (1000, 1010, 202, 0, "mpy-esp32s3")
    assert said[:-2] == [
        idle,
        ("home", joining, up, True, "192.0.2.10"),
        ("home", joining, wrong, False, "0.0.0.0"),
        ("away", joining, no_ap, False, "0.0.0.0"),
        ("nodhcp", joining, no_ip, False, "0.0.0.0"),
        ("open", joining, up, True, "192.0.2.10"),
        ("full", joining, failed, False, "0.0.0.0"),
    ]
    assert said[-1] == [b"full", b"home", b"nodhcp", b"open"]


def test_names_resolve_only_while_wifi_is_up(board: VirtualBoard) -> None:
    code = """
import network, socket, time
w = network.WLAN()
w.active(True)
def look():
    try:
        return bool(socket.getaddrinfo('127.0.0.1', 80))
    except OSError as e:
        return e.errno
before = look()
w.connect('home', 'right')
time.sleep_ms(130)
print(before, look())
"""
    assert mpremote(board, "exec", code).split() == ["-6" if is_rp2(board) else "-202", "True"]


_WATCH = """
import network, time
w = network.WLAN(0)
w.active(True)
w.connect('home', 'right')
last = None
while True:
    now = w.status()
    if now != last:
        print('status', now)
        last = now
    time.sleep_ms(5)
"""


@pytest.mark.parametrize(
    ("name", "course"),
    [("pico_w", [1, 3, 1]), ("esp32_c3", [1001, 1010, 1001, 201, 1010])],
)
def test_an_event_takes_the_access_point_away_and_back(files: Path, name: str, course: list[int]) -> None:
    (files / "main.py").write_text(_WATCH)
    wifi: dict[str, Any] = {"networks": NETWORKS}
    began = time.monotonic()
    with VirtualBoard(files, board=name, script={"wifi": wifi}) as board:
        board.wait_for(f"status {course[1]}")
        soon = int((time.monotonic() - began) * 1000) + 100
        board.update_script({"wifi": wifi | {"events": [{"at_ms": soon, "lose_ap": "home", "for_ms": 400}]}})
        board.wait_for(r"(?s)" + ".*".join(rf"status {number}\n" for number in course))
        if name == "pico_w":  # this port does not join again by itself
            with pytest.raises(TimeoutError):
                board.wait_for("status", 0.7, since=board.position)


def test_the_script_can_be_changed_live(files: Path) -> None:
    (files / "main.py").write_text(_WATCH)
    with VirtualBoard(files, board="esp32_generic", script={"wifi": {"networks": NETWORKS}}) as board:
        board.wait_for("status 1010")
        board.update_script({"wifi": {"networks": {}}})
        board.wait_for("status 201")
        at = board.position
        board.update_script({"wifi": {"networks": NETWORKS}})
        board.wait_for("status 1010", since=at)


def test_clock_starts_where_the_board_does_counts_from_its_epoch_and_is_set_by_the_rtc(board: VirtualBoard) -> None:
    board.reset()
    code = "import time, machine; print([time.time(), time.gmtime(0)[0], time.gmtime()[:3], time.localtime()[:3]])"
    rp2 = is_rp2(board)
    now, epoch, today, local = eval(mpremote(board, "exec", code))
    start = 1609459200 if rp2 else 0
    assert start <= now < start + 30
    assert (epoch, today, local) == ((1970, (2021, 1, 1), (2021, 1, 1)) if rp2 else (2000, (2000, 1, 1), (2000, 1, 1)))
    set_it = "import time, machine; machine.RTC().datetime((2026, 11, 21, 0, 1, 2, 3, 0)); "
    wanted = 1795222923 - (0 if rp2 else 946684800)
    assert abs(int(mpremote(board, "exec", set_it + "print(time.time())")) - wanted) <= 1
    # A soft reset (mpremote made one just now) keeps the clock.
    later, wall = eval(mpremote(board, "exec", "import time, machine; print([time.time(), machine.RTC().datetime()])"))
    assert wanted <= later < wanted + 30
    assert wall[:4] == (2026, 11, 21, 5) and wall[4:6] == (1, 2)
    times = (0, 68169599, 68169600, 825552000, 1900000000)
    back = f"import time; print([time.mktime(time.gmtime(t)) - t for t in {times}])"
    assert eval(mpremote(board, "exec", back)) == [0, 0, 0, 0, 0]


def test_a_clock_that_cannot_be_set(files: Path) -> None:
    script = {"clock": {"start": "2035-05-06T07:08:00Z", "settable": False}}
    with VirtualBoard(files, script=script) as board:
        code = "import time, machine; machine.RTC().datetime((2026, 1, 2, 0, 3, 4, 5, 0)); print(time.gmtime()[:5])"
        assert eval(mpremote(board, "exec", code)) == (2035, 5, 6, 7, 8)


def test_sensors_of_the_script(board: VirtualBoard) -> None:
    if is_rp2(board):
        code = """
import machine, dht, onewire, ds18x20
volts = machine.ADC(4).read_u16() * 3.3 / 65535
d = dht.DHT22(machine.Pin(15)); d.measure()
try:
    dht.DHT11(machine.Pin(14)).measure()
except OSError as e:
    missing = e.errno
b = ds18x20.DS18X20(onewire.OneWire(machine.Pin(22)))
roms = b.scan(); first = b.read_temp(roms[0]); b.convert_temp()
led = machine.Pin('LED', machine.Pin.OUT); led.on()
print([round(27 - (volts - 0.706) / 0.001721, 1), machine.ADC(machine.Pin(26)).read_u16(), machine.ADC(0).read_u16(),
    d.temperature(), d.humidity(), missing, first, [b.read_temp(r) for r in roms], led.value(),
    len(machine.unique_id())])
"""
        said = eval(mpremote(board, "exec", code))
        assert abs(said[0] - 31) < 0.1
        assert said[1:] == [12345, 12345, 21.5, 40.0, 110, 85.0, [19.5, -3.25], 1, 8]
    else:
        code = "import esp32; print([esp32.mcu_temperature(), len(esp32.idf_heap_info(esp32.HEAP_DATA)[0])])"
        assert eval(mpremote(board, "exec", code)) == [31, 4]


def test_flash_that_is_full(files: Path) -> None:
    with VirtualBoard(files, script={"faults": {"flash_full": True}}) as board:
        assert "OSError: 28" in mpremote(board, "exec", "open('x', 'w')", code=1)


def test_output_is_drained_without_a_host_and_kept_within_bounds(files: Path) -> None:
    (files / "main.py").write_text("for n in range(9000):\n    print(n, 'x' * 60)\nprint('all said')\n")
    with VirtualBoard(files) as board:
        board.wait_for("all said", 20)
        assert len(board.output) <= 1 << 18 < board.position


def test_waiting_in_vain_ends_in_a_timeout(pico: VirtualBoard) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="never said"):
        pico.wait_for("never said", 0.1)
    assert time.monotonic() - began < 2


def test_a_busy_port_is_refused(pico: VirtualBoard) -> None:
    # What pyserial, and so mpremote, takes to have a port to itself.
    with open(pico.port, "rb", buffering=0) as port:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "in use" in mpremote(pico, "eval", "1", code=1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_nothing_is_left_behind(files: Path) -> None:
    (files / "main.py").write_text(TICKING)
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ZeroDivisionError), VirtualBoard(files) as board:
        board.wait_for("tick")
        assert len(processes_about(str(files))) == 1
        port = board.port
        board.reset()
        board.wait_for("main runs", since=board.position - 1)
        raise ZeroDivisionError
    assert processes_about(str(files)) == []
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not Path(port).parent.exists()
    board.stop()  # a second time does no harm


def test_what_cannot_start_is_a_failure(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure) as caught:
        VirtualBoard(files, board="pico_x")
    assert caught.value.code is Exit.USAGE
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(Failure, match="script"):
        VirtualBoard(files, script=tmp_path / "bad.json")
    with pytest.raises(Failure, match="clock"):
        VirtualBoard(files, script={"clock": {"start": "yesterday"}})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure) as missing:
        VirtualBoard(files)
    assert "pip install" in missing.value.try_


_RUN_SIM = "import typer; from host_tools.commands.sim import sim; typer.run(sim)"


def test_the_command_follows_its_script(files: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text("{}")
    with _start_sim(files, "--script", str(script)) as process:
        try:
            assert process.stdout is not None
            while "Ctrl-C" not in process.stdout.readline():
                assert process.poll() is None
            script.write_text('{"sensors": ')
            assert process.stdout.readline().startswith("the script is kept as it was: ")
            script.write_text('{"sensors": {}}')
            assert process.stdout.readline() == "the script was read again\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_the_command_has_a_time_server(files: Path) -> None:
    """On loopback, and gone with the command; a port that is taken is refused."""
    with SntpServer() as taken:
        with pytest.raises(Failure, match="time server cannot start there"):
            serve(print, "pico_w", files, None, None, time_port=taken.port)
    with _start_sim(files, "--time", "0") as process:
        try:
            assert process.stdout is not None
            found = re.search(r'below \[clock\]: servers = \["127.0.0.1:(\d+)"\]', process.stdout.readline())
            assert found
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(5)
                asking.connect(("127.0.0.1", int(found[1])))
                asking.send(b"\x23" + bytes(39) + b"origin..")
                answer = asking.recv(64)
            seconds = int.from_bytes(answer[40:44], "big") - 2208988800
            assert answer[24:32] == b"origin.." and abs(seconds - time.time()) < 5
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def _start_sim(files: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _RUN_SIM, "--fs", str(files), *more],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(files.parent)},  # what SIGKILL leaves behind goes with the test's folder
    )


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_ends_cleanly(files: Path, tmp_path: Path, number: signal.Signals) -> None:
    (files / "main.py").write_text(TICKING)
    link = tmp_path / "port"
    with _start_sim(files, "--link", str(link)) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"port: {link}\n"
            assert "mpremote connect" in process.stdout.readline()
            done = subprocess.run(
                [sys.executable, "-m", "mpremote", "connect", str(link), "eval", "6*7"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert done.stdout == "42\n"
            process.send_signal(number)
            code = process.wait(10)
        finally:
            process.kill()
    if number is signal.SIGKILL:  # nobody could clean up: the terminal's end takes the interpreter along
        deadline = time.monotonic() + 5
        while processes_about(str(files)) and time.monotonic() < deadline:
            time.sleep(0.01)
    else:
        assert code == 0
        assert not link.is_symlink()
    assert processes_about(str(files)) == []


@pytest.mark.parametrize(("kind", "cause", "year"), [("esp32_s3", 4, 2026), ("pico_w", 3, 2021)])
def test_deep_sleep_ends_the_program_and_starts_it_again(files: Path, kind: str, cause: int, year: int) -> None:
    """Only an ESP32 says that it slept, and only its clock goes on."""
    (files / "main.py").write_text(
        "import machine, os, time\n"
        "print('start', machine.reset_cause(), time.gmtime()[0])\n"
        "if 'slept' not in os.listdir():\n"
        "    open('slept', 'w').close()\n"
        "    machine.RTC().datetime((2026, 11, 21, 5, 12, 0, 0, 0))\n"
        "    print('sleeps')\n"
        "    try:\n"
        "        machine.deepsleep(300)\n"
        "    finally:\n"
        "        print('went on')\n"
    )
    with VirtualBoard(files, board=kind) as virtual:
        virtual.wait_for("sleeps")
        began = time.monotonic()
        virtual.wait_for(rf"^start {cause} {year}")
        assert time.monotonic() - began > 0.2
        assert "went on" not in virtual.output


def test_a_board_in_deep_sleep_without_end_wakes_by_its_button_alone(files: Path) -> None:
    (files / "main.py").write_text("import machine\nprint('start', machine.reset_cause())\nmachine.deepsleep()\n")
    with VirtualBoard(files, board="esp32_generic") as virtual:
        virtual.wait_for("start 1")
        at = virtual.position
        with pytest.raises(TimeoutError):
            virtual.wait_for("start", 0.3, since=at)
        virtual.reset()
        virtual.wait_for("^start 1|^start 2", since=at)
