"""SNTP packets (RFC 4330): the request and the checks on the reply. Bytes in, seconds out; no I/O."""

import struct

_1900_TO_1970 = 2208988800


class BadReply(Exception):
    """The reply is not an answer to our request that can be believed."""


def request(nonce):
    """A client request. nonce: 8 random bytes, echoed by the server, so that a reply cannot be made up blindly."""
    return b"\x23" + bytes(39) + nonce


def parse(reply, nonce):
    """The server's time.

    Args: reply: bytes received. nonce: the 8 bytes sent.
    Returns Unix seconds. Raises BadReply.
    """
    if len(reply) < 48:
        raise BadReply("%d bytes" % len(reply))
    if reply[0] & 7 != 4 or reply[0] >> 6 == 3:
        raise BadReply("the server is not synchronised")
    if not 1 <= reply[1] <= 15:
        raise BadReply("the server asks to be left alone")
    if bytes(reply[24:32]) != bytes(nonce):
        raise BadReply("not an answer to our request")
    seconds = struct.unpack("!I", bytes(reply[40:44]))[0]
    if not seconds:
        raise BadReply("no time in it")
    # The 32-bit count wraps in 2036; RFC 4330 section 3 reads a clear top bit as the era after.
    if seconds < 0x80000000:
        seconds += 0x100000000
    return seconds - _1900_TO_1970
