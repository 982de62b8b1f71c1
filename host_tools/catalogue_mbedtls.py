"""Every error number of Mbed TLS 3.6: its name, and what it means in a few words.

MicroPython raises OSError(-number, 'MBEDTLS_ERR_' + name), or only the number where the names are left out of the
build. Numbers and names: the headers of Mbed TLS 3.6.6.
"""

from rootlet import mbedtls

PREFIX = "MBEDTLS_ERR_"

_ROWS = """
0001 ERROR_GENERIC_ERROR an error without a kind of its own
0002 MPI_FILE_IO_ERROR a big number could not be read from or written to a file
0003 HMAC_DRBG_REQUEST_TOO_BIG more random bytes were asked of the HMAC generator than it gives at once
0004 MPI_BAD_INPUT_DATA a big-number function was given values that it cannot use
0005 HMAC_DRBG_INPUT_TOO_BIG too much extra seed was given to the HMAC random generator
0006 MPI_INVALID_CHARACTER a digit of a big number is not a digit
0007 HMAC_DRBG_FILE_IO_ERROR the seed file of the HMAC random generator could not be used
0008 MPI_BUFFER_TOO_SMALL a big number does not fit into its buffer
0009 HMAC_DRBG_ENTROPY_SOURCE_FAILED the HMAC random generator got no entropy
000A MPI_NEGATIVE_VALUE a big number is negative where it may not be
000B OID_BUF_TOO_SMALL an object identifier does not fit into its buffer
000C MPI_DIVISION_BY_ZERO a big number was divided by zero
000D CCM_BAD_INPUT AES-CCM was given values that it cannot use
000E MPI_NOT_ACCEPTABLE a big number fails a test that it must pass, such as being invertible
000F CCM_AUTH_FAILED an AES-CCM record was altered, or its key is wrong
0010 MPI_ALLOC_FAILED no memory for a big number: for a signature or a key exchange
0011 LMS_BAD_INPUT_DATA LMS signatures were given values that they cannot use
0012 GCM_AUTH_FAILED an AES-GCM record was altered, or its key is wrong
0013 LMS_OUT_OF_PRIVATE_KEYS an LMS key has made all the signatures it can
0014 GCM_BAD_INPUT AES-GCM was given values that it cannot use
0015 LMS_VERIFY_FAILED an LMS signature does not match
0016 GCM_BUFFER_TOO_SMALL the output of AES-GCM does not fit into its buffer
0017 LMS_ALLOC_FAILED no memory for an LMS signature
0019 LMS_BUFFER_TOO_SMALL an LMS value does not fit into its buffer
001C THREADING_BAD_INPUT_DATA a lock was used that cannot be
001E THREADING_MUTEX_ERROR a lock could not be taken or given back
0020 AES_INVALID_KEY_LENGTH an AES key is not of 128, 192 or 256 bits
0021 AES_BAD_INPUT_DATA AES was given values that it cannot use
0022 AES_INVALID_INPUT_LENGTH AES was given a length that is no whole number of blocks
0024 CAMELLIA_BAD_INPUT_DATA Camellia was given values that it cannot use
0026 CAMELLIA_INVALID_INPUT_LENGTH Camellia was given a length that is no whole number of blocks
002A BASE64_BUFFER_TOO_SMALL decoded base64 does not fit into its buffer
002C BASE64_INVALID_CHARACTER a character is not base64: the PEM text is damaged
002E OID_NOT_FOUND an algorithm or attribute is not one that this build knows
0032 DES_INVALID_INPUT_LENGTH DES was given a length that is no whole number of blocks
0034 CTR_DRBG_ENTROPY_SOURCE_FAILED the random generator got no entropy
0036 CTR_DRBG_REQUEST_TOO_BIG more random bytes were asked for than the generator gives at once
0038 CTR_DRBG_INPUT_TOO_BIG too much extra seed was given to the random generator
003A CTR_DRBG_FILE_IO_ERROR the seed file of the random generator could not be used
003C ENTROPY_SOURCE_FAILED the chip's source of randomness failed
003D ENTROPY_NO_STRONG_SOURCE no strong source of randomness is configured
003E ENTROPY_MAX_SOURCES no room for another source of randomness
003F ENTROPY_FILE_IO_ERROR the file that keeps entropy could not be used
0040 ENTROPY_NO_SOURCES_DEFINED no source of randomness is configured
0042 NET_SOCKET_FAILED a socket could not be made
0043 NET_BUFFER_TOO_SMALL a network address does not fit into its buffer
0044 NET_CONNECT_FAILED the TCP connection failed
0045 NET_INVALID_CONTEXT a socket was used that is not open
0046 NET_BIND_FAILED a socket could not take its port
0047 NET_POLL_FAILED waiting on a socket failed
0048 NET_LISTEN_FAILED a socket could not listen
0049 NET_BAD_INPUT_DATA a socket function was given values that it cannot use
004A NET_ACCEPT_FAILED a connection could not be accepted
004C NET_RECV_FAILED reading from the socket failed
004E NET_SEND_FAILED writing to the socket failed
0050 NET_CONN_RESET the other side reset the connection
0051 CHACHA20_BAD_INPUT_DATA ChaCha20 was given values that it cannot use
0052 NET_UNKNOWN_HOST the host name has no address
0054 CHACHAPOLY_BAD_STATE ChaCha20-Poly1305 was used in the wrong order
0056 CHACHAPOLY_AUTH_FAILED a ChaCha20-Poly1305 record was altered, or its key is wrong
0057 POLY1305_BAD_INPUT_DATA Poly1305 was given values that it cannot use
005C ARIA_BAD_INPUT_DATA ARIA was given values that it cannot use
005E ARIA_INVALID_INPUT_LENGTH ARIA was given a length that is no whole number of blocks
0060 ASN1_OUT_OF_DATA the DER ends too early: a file was cut off
0062 ASN1_UNEXPECTED_TAG the DER holds something else than expected: often PEM, or the wrong kind of file
0064 ASN1_INVALID_LENGTH a length inside the DER makes no sense
0066 ASN1_LENGTH_MISMATCH a length inside the DER is not that of its content
0068 ASN1_INVALID_DATA a value inside the DER makes no sense
006A ASN1_ALLOC_FAILED no memory while DER was read
006C ASN1_BUF_TOO_SMALL DER does not fit into its buffer
006E ERROR_CORRUPTION_DETECTED memory was overwritten while a key was in use
0070 PLATFORM_HW_ACCEL_FAILED the chip's crypto hardware failed
0072 PLATFORM_FEATURE_UNSUPPORTED this build or this chip cannot do what was asked
0073 SHA1_BAD_INPUT_DATA SHA-1 was given values that it cannot use
0074 SHA256_BAD_INPUT_DATA SHA-256 was given values that it cannot use
0075 SHA512_BAD_INPUT_DATA SHA-512 was given values that it cannot use
0076 SHA3_BAD_INPUT_DATA SHA-3 was given values that it cannot use
1080 PEM_NO_HEADER_FOOTER_PRESENT there is no BEGIN or END line: not PEM, or another kind of PEM
1100 PEM_INVALID_DATA the PEM text is damaged
1180 PEM_ALLOC_FAILED no memory while PEM was decoded
1200 PEM_INVALID_ENC_IV the encrypted PEM key has a damaged header
1280 PEM_UNKNOWN_ENC_ALG the PEM key is encrypted in a way that this build cannot decrypt
1300 PEM_PASSWORD_REQUIRED the PEM key is encrypted, and no passphrase was given
1380 PEM_PASSWORD_MISMATCH the passphrase of the PEM key is wrong
1400 PEM_FEATURE_UNAVAILABLE this build cannot decrypt PEM keys
1480 PEM_BAD_INPUT_DATA the PEM reader was given values that it cannot use
1E00 PKCS12_PASSWORD_MISMATCH the passphrase of the key is wrong
1E80 PKCS12_PBE_INVALID_FORMAT the header of the encrypted key is damaged
1F00 PKCS12_FEATURE_UNAVAILABLE the key is encrypted in a way that this build cannot decrypt
1F80 PKCS12_BAD_INPUT_DATA the key reader was given values that it cannot use
2080 X509_FEATURE_UNAVAILABLE the certificate uses a hash or a kind of key that this build lacks
2100 X509_UNKNOWN_OID an attribute of the certificate is not known
2180 X509_INVALID_FORMAT the certificate is not valid DER
2200 X509_INVALID_VERSION the version field of the certificate is damaged
2280 X509_INVALID_SERIAL the serial number of the certificate is damaged
2300 X509_INVALID_ALG the signature algorithm of the certificate is damaged
2380 X509_INVALID_NAME the subject or the issuer of the certificate is damaged
2400 X509_INVALID_DATE the dates of the certificate are damaged
2480 X509_INVALID_SIGNATURE the signature field of the certificate is damaged
2500 X509_INVALID_EXTENSIONS the extensions of the certificate are damaged, or a critical one is not known
2580 X509_UNKNOWN_VERSION the certificate is of a version other than 1, 2 or 3
2600 X509_UNKNOWN_SIG_ALG the certificate is signed with an algorithm that this build lacks, such as Ed25519
2680 X509_SIG_MISMATCH the certificate names two different signature algorithms
2700 X509_CERT_VERIFY_FAILED the certificate was not accepted: no trusted CA signed it, or its name or dates are wrong
2780 X509_CERT_UNKNOWN_FORMAT what was given is neither a DER nor a PEM certificate
2800 X509_BAD_INPUT_DATA the certificate reader was given values that it cannot use
2880 X509_ALLOC_FAILED no memory while a certificate was read
2900 X509_FILE_IO_ERROR the file of a certificate could not be read
2980 X509_BUFFER_TOO_SMALL text about a certificate does not fit into its buffer
2E00 PKCS5_PASSWORD_MISMATCH the passphrase of the key is wrong
2E80 PKCS5_FEATURE_UNAVAILABLE the key is encrypted in a way that this build cannot decrypt
2F00 PKCS5_INVALID_FORMAT the header of the encrypted key is damaged
2F80 PKCS5_BAD_INPUT_DATA the key reader was given values that it cannot use
3000 X509_FATAL_ERROR the check of the chain was broken off: a verify callback refused, or the chain is too long
3080 DHM_BAD_INPUT_DATA Diffie-Hellman was given values that it cannot use
3100 DHM_READ_PARAMS_FAILED the server's Diffie-Hellman parameters cannot be read
3180 DHM_MAKE_PARAMS_FAILED Diffie-Hellman parameters could not be made
3200 DHM_READ_PUBLIC_FAILED the other side's Diffie-Hellman value cannot be read
3280 DHM_MAKE_PUBLIC_FAILED the own Diffie-Hellman value could not be made
3300 DHM_CALC_SECRET_FAILED the Diffie-Hellman secret could not be calculated
3380 DHM_INVALID_FORMAT the Diffie-Hellman parameters are damaged
3400 DHM_ALLOC_FAILED no memory for Diffie-Hellman
3480 DHM_FILE_IO_ERROR the file of Diffie-Hellman parameters could not be read
3580 DHM_SET_GROUP_FAILED the Diffie-Hellman group could not be set
3880 PK_BUFFER_TOO_SMALL a key or signature does not fit into its buffer
3900 PK_SIG_LEN_MISMATCH a signature is of another length than its key makes
3980 PK_FEATURE_UNAVAILABLE this build lacks the kind of key or of signature
3A00 PK_UNKNOWN_NAMED_CURVE the elliptic curve of a key is not one that this build knows
3A80 PK_INVALID_ALG the algorithm field of a key is damaged
3B00 PK_INVALID_PUBKEY a public key is damaged
3B80 PK_PASSWORD_MISMATCH the passphrase of the private key is wrong
3C00 PK_PASSWORD_REQUIRED the private key is encrypted, and no passphrase was given
3C80 PK_UNKNOWN_PK_ALG a key is of a kind that this build lacks, such as Ed25519
3D00 PK_KEY_INVALID_FORMAT the private key is not in a form that can be read
3D80 PK_KEY_INVALID_VERSION the private key is of a version that is not known
3E00 PK_FILE_IO_ERROR the file of the private key could not be read
3E80 PK_BAD_INPUT_DATA the key cannot be used: damaged, or not of the kind expected
3F00 PK_TYPE_MISMATCH the private key is not the certificate's, or a key is of another kind than announced
3F80 PK_ALLOC_FAILED no memory for a key
4080 RSA_BAD_INPUT_DATA RSA was given values that it cannot use
4100 RSA_INVALID_PADDING decrypted RSA data is not padded as it should be: a wrong key, or altered data
4180 RSA_KEY_GEN_FAILED an RSA key could not be made
4200 RSA_KEY_CHECK_FAILED the RSA key is not a valid one
4280 RSA_PUBLIC_FAILED an RSA signature could not be checked
4300 RSA_PRIVATE_FAILED an RSA signature could not be made
4380 RSA_VERIFY_FAILED an RSA signature does not match
4400 RSA_OUTPUT_TOO_LARGE RSA output does not fit into its buffer
4480 RSA_RNG_FAILED RSA got no random bytes
4B00 ECP_IN_PROGRESS elliptic-curve arithmetic is not finished yet
4C00 ECP_SIG_LEN_MISMATCH an ECDSA signature is followed by other bytes
4C80 ECP_INVALID_KEY an elliptic-curve key is not a valid one
4D00 ECP_RANDOM_FAILED elliptic-curve arithmetic got no random bytes
4D80 ECP_ALLOC_FAILED no memory for elliptic-curve arithmetic
4E00 ECP_VERIFY_FAILED an ECDSA signature does not match
4E80 ECP_FEATURE_UNAVAILABLE the elliptic curve is not one that this build has
4F00 ECP_BUFFER_TOO_SMALL an elliptic-curve point does not fit into its buffer
4F80 ECP_BAD_INPUT_DATA elliptic-curve arithmetic was given values that it cannot use
5080 MD_FEATURE_UNAVAILABLE the hash is not one that this build has
5100 MD_BAD_INPUT_DATA a hash was given values that it cannot use
5180 MD_ALLOC_FAILED no memory for a hash
5200 MD_FILE_IO_ERROR the file to hash could not be read
5300 PKCS7_INVALID_FORMAT the PKCS #7 data is damaged
5380 PKCS7_FEATURE_UNAVAILABLE the PKCS #7 data uses what this build lacks
5400 PKCS7_INVALID_VERSION the PKCS #7 version is damaged
5480 PKCS7_INVALID_CONTENT_INFO the PKCS #7 content is damaged
5500 PKCS7_INVALID_ALG the PKCS #7 algorithm is damaged
5580 PKCS7_INVALID_CERT a certificate inside PKCS #7 is damaged
5600 PKCS7_INVALID_SIGNATURE the PKCS #7 signature is damaged
5680 PKCS7_INVALID_SIGNER_INFO the PKCS #7 signer is damaged
5700 PKCS7_BAD_INPUT_DATA the PKCS #7 reader was given values that it cannot use
5780 PKCS7_ALLOC_FAILED no memory for PKCS #7
5800 PKCS7_VERIFY_FAIL the PKCS #7 signature does not match
5880 PKCS7_CERT_DATE_INVALID the certificate of the PKCS #7 signer is outside its dates
5D80 SSL_CERTIFICATE_VERIFICATION_WITHOUT_HOSTNAME verification was asked for, but no name to verify was given
5E80 SSL_BAD_CONFIG the TLS settings contradict each other, or name no cipher suite that this build has
5F00 SSL_VERSION_MISMATCH the version of a TLS message differs from the one agreed on
5F80 HKDF_BAD_INPUT_DATA HKDF was given values that it cannot use
6000 SSL_UNEXPECTED_CID a DTLS record carries a connection id that was not agreed on
6080 CIPHER_FEATURE_UNAVAILABLE the cipher is not one that this build has
6100 CIPHER_BAD_INPUT_DATA a cipher was given values that it cannot use
6180 CIPHER_ALLOC_FAILED no memory for a cipher
6200 CIPHER_INVALID_PADDING decrypted data is not padded as it should be
6280 CIPHER_FULL_BLOCK_EXPECTED a cipher was given less than a whole block
6300 CIPHER_AUTH_FAILED a record was altered, or its key is wrong
6380 CIPHER_INVALID_CONTEXT a cipher was used after it was freed
6480 SSL_EARLY_MESSAGE a handshake message came before its turn
6500 SSL_ASYNC_IN_PROGRESS a key operation elsewhere is not finished yet
6580 SSL_CONTINUE_PROCESSING the handshake is to be continued at once
6600 SSL_ILLEGAL_PARAMETER the server chose something that was not offered
6680 SSL_NON_FATAL an alert came that does not end the connection
6700 SSL_UNEXPECTED_RECORD a record came that has no place at this point
6780 SSL_CLIENT_RECONNECT a DTLS client starts again from the same port
6800 SSL_TIMEOUT nothing came within the time allowed
6880 SSL_WANT_WRITE the socket takes no more for now: not an error, try again
6900 SSL_WANT_READ nothing has come yet: not an error, try again
6A00 SSL_BUFFER_TOO_SMALL a TLS message does not fit into its buffer
6A80 SSL_HELLO_VERIFY_REQUIRED a DTLS client must show its cookie first
6B00 SSL_WAITING_SERVER_HELLO_RENEGO a renegotiation is under way
6B80 SSL_COUNTER_WRAPPING too many records: the connection must be opened anew
6C00 SSL_INTERNAL_ERROR a fault inside Mbed TLS, or settings that it did not foresee
6C80 SSL_UNKNOWN_IDENTITY the pre-shared key's identity is not known
6D00 SSL_PK_TYPE_MISMATCH the server's key is of another kind than its cipher suite needs
6D80 SSL_SESSION_TICKET_EXPIRED a session ticket is too old
6E00 SSL_HANDSHAKE_FAILURE the two sides have no cipher suite, curve or signature algorithm in common
6E80 SSL_BAD_PROTOCOL_VERSION the two sides have no TLS version in common
6F80 SSL_HW_ACCEL_FALLTHROUGH crypto hardware leaves the work to software
7000 SSL_CRYPTO_IN_PROGRESS a calculation is not finished yet: not an error, try again
7080 SSL_FEATURE_UNAVAILABLE the other side uses something that this build lacks
7100 SSL_BAD_INPUT_DATA TLS was given something that it cannot use
7180 SSL_INVALID_MAC a record was altered on its way, or the two sides have different keys
7200 SSL_INVALID_RECORD what came is no TLS record: usually the port does not speak TLS
7280 SSL_CONN_EOF the connection ended without TLS's goodbye
7300 SSL_DECODE_ERROR a TLS message cannot be read
7400 SSL_NO_RNG no random generator was given to TLS
7480 SSL_NO_CLIENT_CERTIFICATE the client sent no certificate although one was required
7500 SSL_UNSUPPORTED_EXTENSION the server answered with a TLS extension that was not offered
7580 SSL_NO_APPLICATION_PROTOCOL the two sides have no ALPN protocol in common
7600 SSL_PRIVATE_KEY_REQUIRED a private key or a pre-shared key is needed, and none was given
7680 SSL_CA_CHAIN_REQUIRED verification was asked for, but no CA certificate was loaded
7700 SSL_UNEXPECTED_MESSAGE a TLS message came that has no place at this point
7780 SSL_FATAL_ALERT_MESSAGE the other side sent a fatal alert: it refused
7800 SSL_UNRECOGNIZED_NAME the server does not know the host name that was asked for
7880 SSL_PEER_CLOSE_NOTIFY the other side said goodbye and closed
7A00 SSL_BAD_CERTIFICATE the other side's certificate message cannot be used
7B00 SSL_RECEIVED_NEW_SESSION_TICKET a session ticket came: not an error, read again
7B80 SSL_CANNOT_READ_EARLY_DATA early data cannot be read
7C00 SSL_RECEIVED_EARLY_DATA early data came
7C80 SSL_CANNOT_WRITE_EARLY_DATA early data cannot be sent
7E80 SSL_CACHE_ENTRY_NOT_FOUND the session is not in the cache
7F00 SSL_ALLOC_FAILED no memory for TLS: two record buffers of 16.7 KB and 4.4 KB are needed in one piece each
7F80 SSL_HW_ACCEL_FAILED the crypto hardware failed
"""

# number (positive): (name without prefix, what it means).
ERRORS = {
    int(number, 16): (name, meaning)
    for number, name, meaning in (row.split(" ", 2) for row in _ROWS.split("\n") if row)
}
NUMBERS = {name: number for number, (name, _) in ERRORS.items()}
# On a board these numbers cannot be told from an errno; by name they can.
_BY_NAME = {
    "NET_CONNECT_FAILED": "TCP",
    "NET_CONN_RESET": "NET_CLOSED",
    "NET_RECV_FAILED": "NET_CLOSED",
    "NET_SEND_FAILED": "NET_CLOSED",
    "NET_UNKNOWN_HOST": "DNS",
    "OID_NOT_FOUND": "CERT_WEAK_SIGNATURE",
    "ASN1_OUT_OF_DATA": "CERT_MALFORMED",
    "ASN1_UNEXPECTED_TAG": "CERT_MALFORMED",
    "ASN1_INVALID_LENGTH": "CERT_MALFORMED",
    "ASN1_LENGTH_MISMATCH": "CERT_MALFORMED",
    "ASN1_INVALID_DATA": "CERT_MALFORMED",
    "MPI_ALLOC_FAILED": "TLS_MEMORY",
    "ASN1_ALLOC_FAILED": "TLS_MEMORY",
    "LMS_ALLOC_FAILED": "TLS_MEMORY",
}


def name(number: int) -> str:
    """The name that MicroPython prints for a number, combined ones with a plus sign. number: of either sign."""
    if number & 0xFF80 == 0x7780:
        return PREFIX + "SSL_FATAL_ALERT_MESSAGE"
    parts = [part for part in mbedtls.split(number) if part]
    return "+".join(PREFIX + (ERRORS[part][0] if part in ERRORS else f"UNKNOWN (0x{part:04X})") for part in parts)


def meaning(number: int) -> str:
    """What a number means, both halves of a combined one; empty where neither is known."""
    return "; ".join(ERRORS[part][1] for part in mbedtls.split(number) if part in ERRORS)


def code_of_name(plain: str) -> str:
    """Our code for a name without its prefix. Raises KeyError."""
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    return str(mbedtls.catalogue_code(-NUMBERS[plain]))
