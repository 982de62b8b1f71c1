"""psk: what is offered, which keys are taken, and what a firmware without pre-shared keys is told."""

from rootlet import psk
from rootlet.errors import RootletError
from rootlet.trust import Trust

GCM = ["TLS-PSK-WITH-AES-256-GCM-SHA384", "TLS-PSK-WITH-AES-128-GCM-SHA256"]
OTHERS = ["TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", "TLS-PSK-WITH-AES-128-CBC-SHA"]


class Context:
    """Stands in for tls.SSLContext of MicroPython 1.29."""

    suites = OTHERS + GCM
    offered = None

    def get_ciphers(self):
        return self.suites

    def set_ciphers(self, suites):
        self.offered = suites


class Old(Context):
    """The same before 1.29: setting an attribute that is not there raises AttributeError."""

    suites = OTHERS[:1]
    psk_identity = property(lambda self: None)
    psk_key = property(lambda self: None)


class Without(Context):
    """A build that has the attributes, but no suite for them."""

    suites = OTHERS


def with_key(key, function):
    read, psk.read_file = psk.read_file, lambda name: key
    try:
        return function(psk.Psk("dev-1", "device.psk"))
    finally:
        psk.read_file = read


def error(key, context):
    try:
        with_key(key, lambda shared: shared.prepare(context))
    except RootletError as e:
        return e
    raise AssertionError("accepted")


def test_nothing_but_aead_suites_with_a_shared_key_is_offered():
    context = Context()
    assert with_key(b"k" * 16, lambda shared: shared.prepare(context)) is context
    assert context.psk_identity == "dev-1"
    assert context.psk_key == b"k" * 16
    assert sorted(context.offered) == sorted(GCM)


def test_older_firmware_is_told_what_it_needs():
    for context in (Old(), Without()):
        e = error(b"k" * 32, context)
        assert e.code == "TLS_NO_PSK"
        assert "MicroPython 1.29 or newer" in str(e)
        assert context.offered is None


def test_the_size_of_the_key_and_never_the_key():
    for size in (0, 1, 15, 33, 1000):
        e = error(b"k" * size, Context())
        assert e.code == "TLS_PSK"
        assert "'device.psk' holds %d bytes" % size in e.fact
        assert "kk" not in str(e)


def test_another_suite_than_offered_is_refused_after_the_handshake_too():
    shared = psk.Psk("dev-1", "device.psk")
    shared.check(GCM[0])
    for suite in OTHERS:
        try:
            shared.check(suite)
        except RootletError as e:
            assert e.code == "TLS_FAILED" and suite in e.fact
        else:
            raise AssertionError("accepted " + suite)


def test_refusals_are_told_in_words_and_other_errors_stay():
    shared = psk.Psk("dev-1", "device.psk")
    for code in ("TLS_VERSION", "TLS_REFUSED", "TLS_CLOSED"):
        assert shared.explain(RootletError(code)).code == "TLS_PSK"
    for code in ("TLS_TIMEOUT", "TLS_MEMORY", "TLS_NOT_TLS", "TLS_IDENTITY"):
        assert shared.explain(RootletError(code)).code == code


def test_a_shared_trust_has_no_roots_and_no_certificate():
    base = Trust([b"root"], lambda: 1, {"heap": "gc"}, 7).with_identity("cert", "key")
    shared = psk.trust(base, "dev-1", "device.psk")
    assert base.psk is None
    assert shared.roots == []
    assert shared.cert is None and shared.key is None
    assert shared.now() == 1 and shared.needs == base.needs and shared.floor == 7
    assert shared.psk.identity == "dev-1" and shared.psk.file == "device.psk"
