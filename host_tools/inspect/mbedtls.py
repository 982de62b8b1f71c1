"""What Mbed TLS as MicroPython builds it can do, per port: one table, no logic but reading it."""

from typing import TypedDict

SUITES = {
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xC024: "ECDHE-ECDSA-AES256-CBC-SHA384",
    0xC028: "ECDHE-RSA-AES256-CBC-SHA384",
    0xC00A: "ECDHE-ECDSA-AES256-CBC-SHA",
    0xC014: "ECDHE-RSA-AES256-CBC-SHA",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC023: "ECDHE-ECDSA-AES128-CBC-SHA256",
    0xC027: "ECDHE-RSA-AES128-CBC-SHA256",
    0xC009: "ECDHE-ECDSA-AES128-CBC-SHA",
    0xC013: "ECDHE-RSA-AES128-CBC-SHA",
    0x009D: "RSA-AES256-GCM-SHA384",
    0x003D: "RSA-AES256-CBC-SHA256",
    0x0035: "RSA-AES256-CBC-SHA",
    0x009C: "RSA-AES128-GCM-SHA256",
    0x003C: "RSA-AES128-CBC-SHA256",
    0x002F: "RSA-AES128-CBC-SHA",
}
"""The names of the suites that stock builds have; the firmware offers fewer: forward secrecy and AES-GCM only."""

GROUPS = {0x17: "P-256", 0x18: "P-384", 0x19: "P-521", 0x1D: "X25519", 0x1E: "X448", 0x11EC: "X25519MLKEM768",
          0x11EB: "SecP256r1MLKEM768", 0x11ED: "SecP384r1MLKEM1024", 0x100: "ffdhe2048"}  # fmt: skip

SCHEMES = {
    0x0401: "RSA PKCS#1 SHA-256", 0x0501: "RSA PKCS#1 SHA-384", 0x0601: "RSA PKCS#1 SHA-512", 0x0201: "RSA SHA-1",
    0x0403: "ECDSA SHA-256", 0x0503: "ECDSA SHA-384", 0x0603: "ECDSA SHA-512", 0x0203: "ECDSA SHA-1",
    0x0804: "RSA-PSS SHA-256", 0x0805: "RSA-PSS SHA-384", 0x0806: "RSA-PSS SHA-512",
    0x0809: "RSA-PSS-key SHA-256", 0x080A: "RSA-PSS-key SHA-384", 0x080B: "RSA-PSS-key SHA-512",
    0x0807: "Ed25519", 0x0808: "Ed448", 0x0904: "ML-DSA-44", 0x0905: "ML-DSA-65", 0x0906: "ML-DSA-87",
}  # fmt: skip
"""Signature schemes (RFC 8446 section 4.2.3); RFC 5246 has the same numbers for RSA PKCS#1 and ECDSA."""


class Abilities(TypedDict):
    """What a port's Mbed TLS offers in its Client Hello, and its buffers, bytes."""

    version: str
    suites: list[int]
    groups: list[int]
    schemes: list[int]
    in_bytes: int
    out_bytes: int
    max_intermediates: int
    sources: list[str]


_COMMON: Abilities = {
    "version": "TLSv1.2",
    "suites": [0xC02B, 0xC02F, 0xC02C, 0xC030],
    "groups": [0x17, 0x18, 0x19],
    "schemes": [0x0603, 0x0601, 0x0503, 0x0501, 0x0403, 0x0401],
    "in_bytes": 16384,
    "out_bytes": 4096,
    "max_intermediates": 8,
    "sources": [
        "suites: firmware/rootlet/tls.py; groups, schemes: Client Hello of MicroPython's unix port (Mbed TLS 3.6.6)",
        "in_bytes, out_bytes: MicroPython extmod/mbedtls/mbedtls_config_common.h",
        "max_intermediates: Mbed TLS MBEDTLS_X509_MAX_INTERMEDIATE_CA",
    ],
}

PORTS: dict[str, Abilities] = {
    "rp2": _COMMON,
    "esp32": {
        **_COMMON,
        "sources": [
            "curves, buffers, no ALPN: MicroPython ports/esp32/boards/sdkconfig.base",
            "suites and schemes: assumed no fewer than on rp2 (ESP-IDF defaults)",
        ],
    },
}
