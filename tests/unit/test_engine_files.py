"""The files that engines are given: private, well formed for any name, nothing secret said, exact rights."""

import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tools import ca, cluster, revocation, x509_names
from host_tools.engines import crl_folder, emqx, rabbitmq, rabbitmq_access, table
from host_tools.engines.rabbitmq_nodes import erlang
from host_tools.engines.settings import Node, Settings
from host_tools.failure import Failure

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
LEVELS = st.lists(
    st.sampled_from(["rootlet", "cmd", "a", "b", "ab", "+", "#", "*", "x", "", "homeassistant", "sensor", "config"]),
    min_size=1,
    max_size=5,
)
ODD = 'it\'s "odd" \\ # é'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("files") / "ca", subject="/CN=Files CA")


def made(authority: ca.Authority, folder: Path, **options) -> Settings:
    server = authority.issue_server(["localhost"], force=True)
    wanted = {"devices": ("dev-1", "dev_2"), "observers": ("observer",), "operators": ("operator",), **options}
    return Settings(
        cert=server.cert_pem, key=server.key_pem, ca=authority.cert_pem, bind="127.0.0.1", port=8883,
        directory=folder, secret="not-to-be-seen", **wanted,
    )  # fmt: skip


def clustered(authority: ca.Authority, folder: Path, addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3")) -> Settings:
    issued = authority.issue_server(["node"], force=True)
    nodes = tuple(
        Node(f"node-{i}", address, 8883, 25672, issued.cert_pem, issued.key_pem) for i, address in enumerate(addresses)
    )
    return made(authority, folder, node=nodes[0], nodes=nodes)


@pytest.mark.parametrize("name", table.NAMES)
def test_files_are_private_and_nothing_secret_is_in_the_command(name: str, authority, tmp_path, capsys) -> None:
    start = table.engine(name).configure(made(authority, tmp_path))
    assert start.files
    for path in start.files:
        assert path.stat().st_mode & 0o777 == 0o600, path
    said = " ".join([*start.command, *start.env.values(), *capsys.readouterr(), repr(made(authority, tmp_path))])
    assert "not-to-be-seen" not in said and "PRIVATE KEY" not in said


@pytest.mark.parametrize("name", [n for n in table.NAMES if getattr(table.engine(n), "CLUSTER", False)])
def test_a_cluster_keeps_its_secret_in_files_of_mode_0600(name: str, authority, tmp_path) -> None:
    start = table.engine(name).configure(clustered(authority, tmp_path))
    assert any("not-to-be-seen" in path.read_text() for path in start.files)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in start.files)
    assert "not-to-be-seen" not in " ".join([*start.command, *start.env.values()])


@pytest.mark.parametrize("name", ["rabbitmq", "emqx"])
@pytest.mark.parametrize("hosts", [["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["a.example", "b.example", "c.example"]])
def test_files_for_three_machines_name_nothing_of_this_one(name: str, hosts, authority, tmp_path) -> None:
    for node, files in cluster.write(authority, hosts, tmp_path, engine=name, devices=("dev-1",)):
        texts = {path.name: path.read_text() for path in files}
        assert not [known for known, text in texts.items() if str(tmp_path) in text or "127.0.0.1:8883" in text]
        unit = texts["rootlet-broker.service"]
        assert "python" not in unit and "not-to-be-seen" not in unit
        assert all(line.count('"') == 2 for line in unit.splitlines() if line.startswith("Environment="))
        if name == "rabbitmq":
            assert "-proto_dist inet_tls -ssl_dist_optfile /etc/rootlet-broker/inter-node-tls.config" in unit
            tls = texts["inter-node-tls.config"]
            assert tls.count("{verify, verify_peer}") == 2 and "{fail_if_no_peer_cert, true}" in tls
            assert "ERL_EPMD_ADDRESS=127" not in unit and node.name in unit


def test_odd_names_and_folders_are_escaped(authority, tmp_path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    options = made(authority, folder, observers=(ODD,), operators=())
    found = json.loads(rabbitmq.configure(options).files[2].read_text())
    assert ODD in [user["name"] for user in found["users"]]
    assert erlang('a"\\é\n') == '"a\\x{22}\\x{5c}\\x{e9}\\x{a}"'
    assert all(c == "\n" or " " <= c <= "~" for c in (folder / "advanced.config").read_text())
    assert '{allow, {user, <<"it\'s \\"odd\\" \\\\ # é"/utf8>>}, subscribe, ["rootlet/#"]}.' in emqx.access(options)


@pytest.mark.parametrize("engine", [rabbitmq, emqx])
def test_what_cannot_be_is_refused(engine, authority, tmp_path) -> None:
    for options in ({"psk": tmp_path}, {"mtls": False}, {"devices": ("a.b",)}):
        if engine is emqx and "devices" in options:
            continue
        with pytest.raises(Failure):
            engine.refuse(made(authority, tmp_path, **options))
    with pytest.raises(Failure):
        engine.refuse(clustered(authority, tmp_path, ("::1", "127.0.0.2", "127.0.0.3")))


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic or filter is within an MQTT filter, level by level."""
    wanted, given_levels = pattern.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return len(given_levels) > i - 1
        if i >= len(given_levels) or given_levels[i] == "#" or (level != "+" and level != given_levels[i]):
            return False
    return len(wanted) == len(given_levels)


def as_routing_key(topic: str) -> str:
    return topic.replace("/", ".").replace("+", "*")


@given(me=NAMES, other=NAMES, levels=LEVELS, own=st.booleans())
@settings(max_examples=400, deadline=None)
def test_rabbitmqs_expressions_fit_a_devices_own_topics_and_no_others(me, other, levels, own) -> None:
    options = Settings(
        cert=Path("c"), key=Path("k"), ca=Path("a"), bind="127.0.0.1", port=1, directory=Path("d"),
        devices=(me, other), observers=("watching",), operators=("typing",), home_assistant="homeassistant",
    )  # fmt: skip
    found = rabbitmq_access.rights(options)
    rest = "/".join(levels)
    for topic in {rest, f"rootlet/{me}/{rest}", f"rootlet/{other}/{rest}", f"rootlet/{me}{rest}", f"rootlet/{me}\n",
                  f"rootlet/{me}/cmd", f"rootlet/{me}/cmd\n", f"homeassistant/sensor/{me}/{rest}"}:  # fmt: skip
        key = as_routing_key(topic)
        may = {kind: re.search(getattr(found[me], kind), key) is not None for kind in ("write", "read")}
        assert may["read"] == (matches(f"rootlet/{me}/cmd/#", topic) or me in ("watching", "typing")), topic
        announces = matches(f"homeassistant/sensor/{me}/+/config", topic) and topic.split("/")[3] != ""
        below = topic.startswith(f"rootlet/{me}/")
        # No message has a wildcard in its topic: who tries is disconnected (MQTT 3.1.1 section 3.3.2.1).
        if me not in ("watching", "typing") and not {"+", "#"} & set(topic.split("/")):
            assert may["write"] == (below or announces), topic
        assert (re.search(found["watching"].read, key) is not None) == (
            matches("rootlet/#", topic) or matches("homeassistant/#", topic)
        ), topic
        assert not re.search(found["watching"].write, key)


def test_rabbitmqs_sessions_are_a_devices_own() -> None:
    names = ("a", "ab", "a-b", "b" * 22)
    options = Settings(
        cert=Path("c"), key=Path("k"), ca=Path("a"), bind="127.0.0.1", port=1, directory=Path("d"), devices=names
    )
    found = rabbitmq_access.rights(options)
    for me, other in itertools.product(names, names):
        for qos in "01":
            queue = f"mqtt-subscription-{other}qos{qos}"
            assert (re.search(found[me].queues, queue) is not None) == (me == other)
        assert not re.search(found[me].queues, "amq.topic") and re.search(found[me].objects, "amq.topic")


def test_who_left_the_list_gets_no_connection_any_more(authority, tmp_path) -> None:
    rabbitmq.configure(made(authority, tmp_path, sessions=True))
    start = rabbitmq.configure(made(authority, tmp_path, sessions=True, devices=("dev_2",)))
    users = {user["name"]: user for user in json.loads(start.files[2].read_text())["users"]}
    assert users["dev-1"]["limits"] == {"max-connections": 0} and users["dev-1"]["password_hash"] == ""
    assert users["dev_2"]["limits"] == {"max-connections": 4}


def test_emqx_has_one_listener_and_it_verifies(authority, tmp_path) -> None:
    found = emqx.document(clustered(authority, tmp_path))
    listeners = found["listeners"]
    assert [kind for kind, value in listeners.items() if value["default"]["enable"]] == ["ssl"]
    tls = listeners["ssl"]["default"]["ssl_options"]
    assert tls["verify"] == "verify_peer" and tls["fail_if_no_peer_cert"] is True
    assert set(tls["versions"]) == {"tlsv1.2", "tlsv1.3"}
    assert found["authorization"]["no_match"] == "deny" and found["mqtt"]["peer_cert_as_username"] == "cn"
    assert len(found["cluster"]["static"]["seeds"]) == 3
    assert emqx.access(made(authority, tmp_path)).splitlines()[-1] == "{deny, all}."
    parts = emqx.hocon(found)
    for key, value in found.items():
        assert f"{key} = {json.dumps(value, indent=2)}\n" in parts


@pytest.mark.parametrize(
    ("subject", "wanted"),
    [("/C=FR/O=Acmé  Ltd/CN=Root  X", "43eb5a36"), ("/O=Rootlet/CN=Rootlet private CA", "329f7431"),
     ("/CN=a/emailAddress=Foo@BAR.example", "23650f3f")],
)  # fmt: skip
def test_lists_of_revoked_certificates_are_named_as_openssl_names_them(subject: str, wanted: str) -> None:
    """The hashes are those of `openssl x509 -subject_hash` and of Erlang's public_key:short_name_hash."""
    assert crl_folder.name_hash(x509_names.parse_subject(subject)) == wanted


def test_rabbitmq_gets_each_list_and_keeps_none_from_before(authority, tmp_path) -> None:
    crl = tmp_path / "all.crl.pem"
    other = ca.init(tmp_path / "other", subject="/CN=Other")
    crl.write_bytes(revocation.signed(authority, []) + revocation.signed(other, []))
    with_lists = rabbitmq.configure(made(authority, tmp_path, revoked=crl))
    assert len(list((tmp_path / "crls").glob("*.r0"))) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in with_lists.files)
    assert "{crl_check, peer}" in (tmp_path / "advanced.config").read_text()
    rabbitmq.configure(made(authority, tmp_path))
    assert not list((tmp_path / "crls").iterdir())
    assert "crl" not in (tmp_path / "advanced.config").read_text()


@pytest.mark.parametrize("name", ["nats", "emqx"])
def test_who_goes_by_names_refuses_a_list_without_them(name: str, authority, tmp_path) -> None:
    crl = tmp_path / "some.crl.pem"
    crl.write_bytes(revocation.signed(authority, [revocation.entry(99, datetime.now(UTC))]))
    with pytest.raises(Failure, match="could not keep a revoked certificate out"):
        table.engine(name).configure(made(authority, tmp_path, revoked=crl))
