"""The long form of the firmware's error catalogue: likely causes, background, an example of the observed fact.

The short form, what happened and what to do, is rootlet.catalogue.CATALOGUE: the board holds it, with the same codes.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """The long form of one code.

    group: a key of GROUPS. causes: likeliest first, one sentence each. fact: an example of what the board observes.
    background: what helps to understand, or empty.
    """

    group: str
    causes: tuple[str, ...]
    fact: str
    background: str = ""


GROUPS = {
    "wifi": "WiFi",
    "clock": "Clock",
    "tcp": "DNS and TCP",
    "tls": "TLS",
    "cert": "Certificates",
    "http": "HTTP",
    "mqtt": "MQTT",
    "update": "Remote update",
    "ble": "Bluetooth",
    "other": "Other",
}

ENTRIES = {
    "WIFI_WRONG_PASSWORD": Entry(
        "wifi",
        (
            "The password in config.json is not the network's; case and spaces count.",
            "The network wants WPA3 or a user name (enterprise WiFi), which the board does not have.",
            "The signal is so weak that the key exchange breaks off, which some drivers report as a wrong password.",
        ),
        "'home': wrong_password",
        "Most drivers cannot see the difference between a wrong password and an access point that refuses for another "
        "reason. If the password is right, try WPA2 with AES on the access point.",
    ),
    "WIFI_NO_AP": Entry(
        "wifi",
        (
            "The SSID is misspelt; case counts.",
            "The network is on 5 GHz or 6 GHz only; these boards hear 2.4 GHz.",
            "The country is not set (wifi.country), and the access point uses channel 12 or 13.",
            "The board is too far away, or its antenna is covered by metal.",
        ),
        "'home': no_ap",
    ),
    "WIFI_NO_DHCP": Entry(
        "wifi",
        (
            "The DHCP server is off, or has no address left to give.",
            "The access point keeps guests or unknown MAC addresses from the network.",
            "The signal is too weak for anything after joining.",
        ),
        "'home': no_ip",
    ),
    "WIFI_FAILED": Entry(
        "wifi",
        (
            "The access point turned the board away: too many stations, a MAC filter, a security mode it lacks.",
            "Joining took longer than wifi.timeout_s.",
            "The radio did not start; cutting the power, not only a reset, helps.",
        ),
        "'home': failed (status 203)",
        "The number is the driver's own; `rootlet explain 203` says what it means on each board.",
    ),
    "WIFI_STUCK": Entry(
        "wifi",
        (
            "The access point is off or out of reach.",
            "The radio hangs, and switching it off and on did not help.",
        ),
        "20 tries in a row: 'home': failed (status -1)",
        "It is read in last_error of the status message, where `reset` then says \"wifi\". The board restarts after "
        "wifi.reboot_after failures in a row; a wrong password is never a reason.",
    ),
    "CLOCK_NOT_SET": Entry(
        "clock",
        (
            "The network blocks UDP port 123, as many company and guest networks do.",
            "No server of clock.servers has an address here: DNS does not work, or a name is misspelt.",
            "The servers' time is before the firmware was built, or they disagree by more than the clock allows.",
        ),
        "it says 2021-01-01; pool.ntp.org: no answer",
        "A board forgets the time when the power goes. A certificate can only be judged by a clock that is right, so no TLS "
        "is tried before. If the network has an NTP server of its own, put its name into clock.servers.",
    ),
    "DNS": Entry(
        "tcp",
        (
            "The host name is misspelt.",
            "WiFi is up, but the network has no way out, or its DNS server does not answer.",
            "The name is known only to another DNS server: a .local name, or a name inside a company.",
        ),
        "no address for 'broker.home' (error -2)",
        "Names that end in .local are found by mDNS, which not every board looks up; an address or a name in the "
        "router's DNS always works.",
    ),
    "TCP_REFUSED": Entry(
        "tcp",
        (
            "Nothing listens on that port: the server is down, or it is the wrong port.",
            "The server listens on its own loopback address only.",
            "A firewall turns the connection away at once.",
        ),
        "192.168.1.5:8883, error 111",
    ),
    "TCP_TIMEOUT": Entry(
        "tcp",
        (
            "A firewall drops the packets without an answer.",
            "The address is wrong, or the server is off.",
            "Server and board are in networks that do not reach each other, such as a guest WiFi.",
        ),
        "broker.home:8883 at 192.168.1.5",
    ),
    "TCP": Entry(
        "tcp",
        (
            "There is no route to the address: another network, or no gateway.",
            "WiFi went away at this moment.",
            "The board has no free sockets left; those of the connections before stay taken for a while.",
        ),
        "10.1.2.3:8883, error 113",
    ),
    "TLS_MEMORY": Entry(
        "tls",
        (
            "The heap is fragmented: enough is free, but not in one piece.",
            "The program holds too much: large lists, pages, a second TLS connection.",
            "On an ESP32 the Python heap has grown into the memory that TLS takes.",
        ),
        "largest free block 12304 B, 61920 B free in all; needs 16717 B in one piece and 49152 B in all",
        "On rp2 boards Mbed TLS takes its memory from the Python heap: two blocks of 16.7 KB and 4.4 KB, and about 30 KB more "
        "while it checks the chain. When it runs out there, stock MicroPython says that a certificate is not correctly "
        "signed. Rootlet therefore collects garbage and looks before each handshake, and refuses early with the size of the "
        "largest free block. Connect early in the program, keep the connection, and import only what is used.",
    ),
    "TLS_NO_ROOTS": Entry(
        "tls",
        (
            "The cert module was not made or not deployed.",
            "It is on the board under another name than tls.roots_module or the program says.",
            "It holds PEM where DER is needed, or was cut off while it was copied.",
        ),
        "cert module 'cert_roots' is absent or empty",
        "Without a root there is nobody to trust, and Rootlet does not connect without verification. Stock MicroPython says "
        "MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED here.",
    ),
    "TLS_STORE": Entry(
        "tls",
        (
            "The store was not deployed, or only in part.",
            "The file system was full while it was copied, or the power went.",
        ),
        "'roots.bin': the entry at 12345 does not match its checksum",
    ),
    "TLS_IDENTITY": Entry(
        "tls",
        (
            "The certificate and the key do not belong together.",
            "The files are PEM; boards read DER.",
            "The key is encrypted, or of a kind that boards lack, such as Ed25519.",
            "A file was not copied to the board, or only in part.",
        ),
        "'device.crt.der' or 'device.key.der': invalid key",
    ),
    "TLS_PSK": Entry(
        "tls",
        (
            "The key on the board and the broker's differ.",
            "The broker does not know the identity, or has not read its key file again.",
            "The broker has no PSK listener on this port.",
        ),
        "it has another key for 'pico-1', or none, or no TLS-PSK",
        "With a pre-shared key there is no certificate: each side proves that it knows the key. A wrong key looks like any other "
        "refusal from outside.",
    ),
    "TLS_NO_PSK": Entry(
        "tls",
        ("The firmware is older than MicroPython 1.29, or was built without PSK.",),
        "it is MicroPython v1.28.0 on 2026-04-06",
    ),
    "TLS_NOT_TLS": Entry(
        "tls",
        (
            "The port speaks plain text: 1883 is MQTT without TLS, 80 is HTTP without TLS.",
            "The server wants STARTTLS or a proxy header first.",
            "A hotel or company network answers in place of the server.",
        ),
        "broker.home, code -29184",
    ),
    "TLS_VERSION": Entry(
        "tls",
        (
            "The server allows TLS 1.3 only, or nothing newer than TLS 1.1; most boards have TLS 1.2 only.",
            "The server's cipher suites and the board's have none in common; boards want ECDHE with AES-GCM.",
            "The server's certificate has a key that the board lacks, so that no suite is left: Ed25519, or an unusual curve.",
            "The server does not know the host name (SNI) that it was asked for.",
        ),
        "it sent a fatal alert",
        "An alert that comes before the server's certificate means that the two sides could not agree on how to talk. "
        "MicroPython does not say which alert it was; the server's log does.",
    ),
    "TLS_REFUSED": Entry(
        "tls",
        (
            "The server wants a client certificate, and the board has none.",
            "The board's certificate is from a CA that the server does not trust, has expired, or is on its revocation list.",
            "The server's own clock is wrong, so that it takes the board's certificate for expired or not yet valid.",
        ),
        "it sent a fatal alert",
        "The board had accepted the server's certificate when this happened, so that the reason is on the other side. "
        "MicroPython does not say which alert it was; the server's log does.",
    ),
    "TLS_CLOSED": Entry(
        "tls",
        (
            "The port does not speak TLS and hangs up at once.",
            "The server is overloaded, restarts, or has reached its limit of connections.",
            "A firewall that inspects TLS cuts the connection.",
        ),
        "broker.home",
    ),
    "TLS_TIMEOUT": Entry(
        "tls",
        (
            "The port does not speak TLS and waits for something else.",
            "The server or the way to it is slow; a handshake takes a board 1 to 5 seconds by itself.",
            "WiFi loses most packets.",
        ),
        "broker.home",
    ),
    "TLS_FAILED": Entry(
        "tls",
        (
            "A record was damaged or altered on its way.",
            "The two sides hold different keys (pre-shared keys).",
            "Mbed TLS met something that Rootlet has no word for; the number tells what.",
        ),
        "broker.home, code -29056",
        "`rootlet explain` knows every number of Mbed TLS: give it the number or the whole line.",
    ),
    "CERT_EXPIRED": Entry(
        "cert",
        (
            "The certificate was not renewed.",
            "It was renewed, but the server still runs with the old one: reload it.",
            "An intermediate or root certificate has ended, not the server's own.",
            "The board's clock is wrong, which the two dates show.",
        ),
        "'broker.home' ended 2026-03-02, the clock says 2026-11-21",
    ),
    "CERT_NOT_YET_VALID": Entry(
        "cert",
        (
            "The board's clock is behind, which the two dates show.",
            "The CA's clock was ahead when the certificate was issued.",
        ),
        "'broker.home' starts 2026-03-02, the clock says 2021-01-01",
    ),
    "CERT_NAME": Entry(
        "cert",
        (
            "The board connects by an IP address or a short name, the certificate holds the full name.",
            "The server has several names, and its certificate lacks this one.",
            "Another server answers at this address: a wrong DNS entry, a router's own page.",
        ),
        "you asked for broker, it is for broker.home, 192.168.1.5",
        "Only subject alternative names count. A name *.example covers one label: a.example, but neither example nor a.b.example.",
    ),
    "CERT_NO_SAN": Entry(
        "cert",
        ("The certificate was made the old way, with the name in the common name only (`-subj /CN=…`).",),
        "it has only the common name 'broker.home'",
        "Browsers and RFC 9525 ignore the common name, and so does Rootlet, so that a certificate means the same everywhere.",
    ),
    "CERT_IP_IN_DNS": Entry(
        "cert",
        ("The certificate was issued with DNS:192.168.1.5 where IP:192.168.1.5 is meant.",),
        "'192.168.1.5' is a dNSName in it, not an iPAddress",
    ),
    "CERT_SELF_SIGNED": Entry(
        "cert",
        (
            "The server still has the certificate that its installer made for itself.",
            "The server was given the CA's certificate in place of its own.",
        ),
        "it is 'localhost'",
    ),
    "CERT_UNKNOWN_CA": Entry(
        "cert",
        (
            "The server's CA was not embedded, or the server has changed its CA.",
            "The CA was made anew under the same name: the certificates of the old one no longer fit.",
            "A proxy that opens TLS stands in between, with a CA of its own.",
        ),
        "the issuer is 'DigiCert Global G2'",
        "Stock MicroPython says “The certificate is not correctly signed by the trusted CA” here, and says the same when memory runs "
        "out on an rp2 board. Rootlet tells the two apart, see TLS_MEMORY.",
    ),
    "CERT_INCOMPLETE": Entry(
        "cert",
        (
            "The server's configuration names its own certificate only, and not the chain (fullchain.pem).",
            "The server's CA is not among the embedded roots after all.",
        ),
        "only the leaf came; its issuer 'R11' did not",
        "Browsers fetch a missing intermediate certificate by themselves and hide the mistake; boards cannot. Where a server sends "
        "nothing but its own certificate and no embedded root has signed it, the board cannot know whether an intermediate was "
        "left out or the CA is a stranger. It says CERT_INCOMPLETE where the certificate tells where its issuer's certificate "
        "is published, or where the issuer belongs to the organisation of an embedded root; else CERT_UNKNOWN_CA.",
    ),
    "CERT_CHAIN": Entry(
        "cert",
        (
            "A CA was issued with a path length of 0 and yet has another CA under it.",
            "There are more than six intermediates between the server's certificate and the root.",
        ),
        "'Sub CA' is one CA too many (path length)",
    ),
    "CERT_EXTENSION": Entry(
        "cert",
        (
            "A private CA marks an extension of its own as critical.",
            "The CA is restricted to some names (name constraints), which boards cannot check.",
        ),
        "'Corporate CA' has name constraints",
        "RFC 5280 demands that a certificate with an unknown critical extension is refused.",
    ),
    "CERT_PIN": Entry(
        "cert",
        (
            "The server has a new key, and the pins were not updated first.",
            "Somebody else's server answers, with a certificate from a CA that is trusted.",
        ),
        "the server's is sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "A pin holds the connection to one key even against trusted CAs. Always pin two: the key in use, and the next one.",
    ),
    "CERT_USAGE": Entry(
        "cert",
        (
            "A device's or a user's certificate was given to the server.",
            "A certificate that is not a CA was used to sign another.",
        ),
        "'pico1' is not for servers (no serverAuth)",
    ),
    "CERT_WEAK_KEY": Entry(
        "cert",
        (
            "An RSA key of 1024 bits: old equipment often has one.",
            "An Ed25519 key or an unusual curve, which Mbed TLS does not have.",
        ),
        "'printer' has RSA 1024",
    ),
    "CERT_WEAK_SIGNATURE": Entry(
        "cert",
        (
            "A private CA still signs with SHA-1 or MD5.",
            "The CA signs with RSA-PSS or Ed25519, which boards cannot check.",
        ),
        "'broker.home' is signed with SHA1-RSA",
    ),
    "CERT_MALFORMED": Entry(
        "cert",
        (
            "The certificate is damaged, or was made by faulty software.",
            "It is of version 1, as made by old scripts without extensions.",
        ),
        "'router' is version 1, not 3",
    ),
    "NET_TIMEOUT": Entry(
        "tcp",
        (
            "WiFi or the way to the server was lost without a word.",
            "The server hangs, or is busy for longer than the timeout.",
        ),
        "broker.home, nothing within the time allowed",
    ),
    "NET_CLOSED": Entry(
        "tcp",
        (
            "The server ended the connection: it restarts, or it did not like what it was sent.",
            "A router in between forgets connections that are quiet for long; a shorter keepalive helps.",
        ),
        "broker.home",
    ),
    "HTTP_URL": Entry(
        "http",
        (
            "The URL starts with http://, which is not encrypted.",
            "It holds a space, a letter outside ASCII, or a user name.",
        ),
        "not https",
    ),
    "HTTP_TIMEOUT": Entry(
        "http",
        ("The server works on its answer for longer than the timeout.", "The page is large and WiFi slow."),
        "https://api.example/, 8192 bytes of body so far",
    ),
    "HTTP_TRUNCATED": Entry(
        "http",
        (
            "The server failed while it sent the page.",
            "The server announces a wrong Content-Length.",
            "The server says no size and ends TCP without ending TLS (close_notify): it is to send Content-Length.",
        ),
        "https://api.example/, 8192 bytes of body so far",
        "A page that ends early is never handed over as whole: who could cut the connection could else shorten it unseen.",
    ),
    "HTTP_RESPONSE": Entry(
        "http",
        (
            "The port speaks TLS, but not HTTP: a broker, a mail server.",
            "A proxy or a home-made server sends headers that are not valid.",
        ),
        "https://api.example/: no status line",
    ),
    "HTTP_TOO_LARGE": Entry(
        "http",
        (
            "The page has grown, or is another one than was meant.",
            "The limit, max_bytes, is set too low.",
            "A program sends a body of more than 4 KB by POST.",
        ),
        "524288 bytes announced, 262144 allowed",
    ),
    "HTTP_INSECURE_REDIRECT": Entry(
        "http",
        (
            "The server sends its users to http://, often because a proxy in front of it ends TLS.",
            "A login page of a guest network answers.",
        ),
        "from api.example to http://api.example/login",
    ),
    "HTTP_REDIRECTS": Entry(
        "http",
        ("The server sends in a circle, often between two spellings of a name.", "A login is wanted first."),
        "more than 3, the last to https://api.example/login",
    ),
    "HTTP_JSON": Entry(
        "http",
        ("The server answers with an HTML page: an error, a login, a maintenance note.", "The path is wrong."),
        "https://api.example/v1: status 404, text/html",
    ),
    "MQTT_REFUSED": Entry(
        "mqtt",
        (
            "User or password are wrong, or missing where anonymous users are not allowed (reasons 4 and 5).",
            "The broker's ACL does not allow this client id (reasons 2 and 5).",
            "The broker speaks another version of MQTT (reason 1).",
        ),
        "reason 5: not authorised, client id 'pico1'",
    ),
    "MQTT_UNAVAILABLE": Entry(
        "mqtt",
        ("The broker is starting, stopping or overloaded (reason 3).",),
        "reason 3: server unavailable, client id 'pico1'",
    ),
    "MQTT_PACKET": Entry(
        "mqtt",
        ("The port speaks TLS, but not MQTT: a web server, or MQTT over WebSocket.", "The broker speaks MQTT 5 only."),
        "no CONNACK, but b'HTTP'",
    ),
    "MQTT_TOO_LARGE": Entry(
        "mqtt",
        ("A message is larger than 16 KB.", "A message retained at the broker is larger than the board can take."),
        "20480 bytes, at most 16384",
    ),
    "MQTT_TIMEOUT": Entry(
        "mqtt",
        (
            "WiFi or the way to the broker was lost without a word.",
            "The broker is overloaded, or waits for its own disk.",
        ),
        "silent for 15.2 s",
    ),
    "MQTT_CLOSED": Entry(
        "mqtt",
        (
            "Another client came with the same client id: brokers then drop the older one, and the two take turns.",
            "The broker restarts, or its ACL forbids what was published and it hangs up.",
            "The board was silent for longer than one and a half keepalives.",
        ),
        "broker.home",
    ),
    "MQTT_SUBSCRIBE": Entry(
        "mqtt",
        ("The broker's ACL does not allow this user to read the topic.", "The topic filter is not valid: # must come last."),
        "topic sensors/#",
    ),
    "CONFIG": Entry(
        "other",
        ("A key is misspelt, missing, or of the wrong type; the fact says which.", "A comma or a quote is missing in the JSON."),
        "mqtt.port is 88830: not from 1 to 65535",
    ),
    "MEMORY": Entry(
        "other",
        ("Too many sensors, a queue too long, or a page too large for the heap.", "The program around Rootlet keeps what it could drop."),
        "8192 B free after collecting",
    ),
    "CRASH": Entry(
        "other",
        ("A sensor's driver raises what no driver should.", "A file of the program is damaged: deploy again.", "A defect of Rootlet."),
        "dht.py:3: AttributeError: 'NoneType' object has no attribute 'value'",
        "It is read in last_error of the status message. The board restarts by itself, after a pause that grows; five such "
        "starts in a row lead to safe mode.",
    ),
    "WATCHDOG": Entry(
        "other",
        ("A sensor's driver waits for ever.", "A step took longer than watchdog_s.", "The processor itself stopped (a fault in a driver in C)."),
        "reset cause: watchdog",
        "It is read in last_error of the status message. The watchdog resets a board whose gateway or one of whose sensors "
        "has not been heard for watchdog_s seconds longer than announced.",
    ),
    "SLOT": Entry(
        "other",
        (
            "The power went while new certificates were written, and the old slot is damaged as well.",
            "A file of the slot was removed or altered by hand.",
        ),
        "slot_b/device.crt.der is not what was sent",
    ),
    "COMMAND": Entry(
        "other",
        (
            "The command is not in mqtt.commands of the configuration, where none is by default.",
            "An argument is missing or out of its bounds.",
            "The same id came before: MQTT may deliver a message twice, and a board executes none twice.",
            "More commands came than one a second.",
        ),
        "reboot is not in mqtt.commands",
        "It is read in the answer to a command, on the topic `reply` of the device.",
    ),
    "UPDATE_OFF": Entry(
        "update",
        ("The configuration has no update.key.", "The key's file was not deployed with it."),
        "no file 'update.pub'",
        "Without a key a board takes no remote update at all.",
    ),
    "UPDATE_SIGNATURE": Entry(
        "update",
        (
            "The update was published with the key of another project, or with a new key that this board does not have yet.",
            "The web server, or somebody on it, has changed the list.",
            "The address leads to something else, such as a login page.",
        ),
        "5120 bytes",
        "The signature is checked before anything of the list is read. A board gets another key by cable only.",
    ),
    "UPDATE_MANIFEST": Entry(
        "update",
        ("It was made by a version of the tools that this firmware does not know.",),
        "board",
        "Its signature is right. The fact names the field or the file name that cannot be used.",
    ),
    "UPDATE_REFUSED": Entry(
        "update",
        (
            "The board runs this version or a newer one; an older one needs --downgrade and update.downgrade.",
            "This version has failed on the board before; --again asks for it all the same.",
            "It was published for another board, or for another .mpy version.",
            "The version that runs has not published yet, so that the other one may still be needed.",
        ),
        "version 1795239001 is not newer than 1795240000",
    ),
    "UPDATE_FILE": Entry(
        "update",
        ("A file is missing on the web server, or was changed there.", "The list was published, its files were not."),
        "rootlet/mqtt.mpy is not what was signed",
        "The version that runs is untouched. Files that are whole are kept, and the next try goes on from there.",
    ),
    "UPDATE_FLASH": Entry(
        "update",
        ("Two versions and what the board keeps do not fit its flash.", "The flash is worn out."),
        "163840 bytes are needed, 90112 are free",
        "The version that runs is untouched.",
    ),
    "BLE_OFF": Entry(
        "ble",
        (
            "The firmware on the board has no `bluetooth` module: builds for boards without a radio lack it.",
            "The radio did not start: memory was short, or the power supply is weak.",
            "An event of the radio found no room while the board was busy; it is started again.",
        ),
        "no module named 'bluetooth'",
        "Everything else goes on meanwhile. The radio is tried again after a pause that grows to five minutes.",
    ),
    "BLE_CONNECT": Entry(
        "ble",
        (
            "The peripheral is at the edge of what the board hears.",
            "It is connected to another device, a phone for instance; many take one connection only.",
            "It has gone to sleep after its advertisement.",
        ),
        "no connection within 8 s",
    ),
    "BLE_LOST": Entry(
        "ble",
        (
            "The peripheral was switched off, carried away, or its battery is empty.",
            "It ends connections by itself to save power; then raise every_s, or read its advertisements instead.",
            "WiFi and Bluetooth share one antenna, and the signal is weak.",
        ),
        "the peripheral has gone",
    ),
    "BLE_GATT": Entry(
        "ble",
        (
            "The peripheral has none of the services or characteristics that the configuration asks for.",
            "It wants an encrypted connection: set bond, on a board that can.",
            "It answers wrongly, late or not at all.",
        ),
        "characteristic discovery failed with status 5",
        "The status is that of the Attribute Protocol (Bluetooth Core Specification, volume 3, part F, section 3.4.1.1): "
        "5 and 15 ask for pairing, 10 is something that is not there.",
    ),
    "BLE_PAIR": Entry(
        "ble",
        (
            "It gives its values over an encrypted connection only, and bond is not set (a Pico W cannot bond).",
            "The peripheral is not in pairing mode.",
            "It has forgotten this board: remove bonds.json on the board, so that both begin anew. The board does not do "
            "so by itself, since anybody can send under the peripheral's address.",
            "It wants a passkey, and a gateway has neither display nor keys.",
        ),
        "the connection is not encrypted",
    ),
    "BLE_DATA": Entry(
        "ble",
        (
            "The sensor sends another format than its entry in ble.sensors says; many firmwares can be set to several.",
            "The format has grown since: the fact names the version, frame or object that is not known.",
            "Two kinds of device share an id: Apple's and the Environmental Sensing service's are used by many.",
        ),
        "Ruuvi data format 6, not 5",
        "What each format gives, and which forms of it are read, is in docs/ble-formats.md.",
    ),
    "BLE_KEY": Entry(
        "ble",
        (
            "The sensor encrypts and has no bindkey in ble.sensors, or another one than the sensor's.",
            "The sensor's battery was changed, so that its counter starts anew; until the board is restarted that looks like a replay.",
            "A bindkey is set, but the sensor does not encrypt, or somebody else sends in its name.",
            "Somebody sends recorded messages again.",
        ),
        "counter 12 is not above 1122867",
        "A board with a bindkey takes nothing that is not encrypted with it, and no message of BTHome twice: anybody near can send "
        "under the sensor's address.",
    ),
    "SENSOR": Entry(
        "other",
        ("A wire is loose, or on another pin than config.json says.", "The pull-up resistor is missing (DHT, 1-Wire).", "The sensor is read too often."),
        "'room': no DS18B20 answers on pin 4",
    ),
}  # fmt: skip
