"""How an API key is written: ``shk_<id>_<secret><checksum>``.

The id is a UUID in hex; the secret, 256 random bits, and the checksum, a CRC of all before it, are
in base 62. The checksum tells a mistyped key from a wrong one without the database, and lets a
scanner find a leaked one.
"""

import re
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_letters
SECRET_LENGTH = 43
"""The least that holds 256 bits."""
CHECKSUM_LENGTH = 6

KEY = re.compile(rf"shk_([0-9a-f]{{32}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")


def write(unique: str) -> str:
    """Write a key with a new secret for an id of 32 hex digits."""
    head = f"shk_{unique}_{''.join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))}"
    return head + _checksum(head)


def read(key: str) -> str | None:
    """Return the id in a key, or None where it is not one or its checksum is wrong."""
    match = KEY.fullmatch(key)
    if match is None or not key.endswith(_checksum(key[:-CHECKSUM_LENGTH])):
        return None
    return match[1]


def _checksum(head: str) -> str:
    rest = zlib.crc32(head.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
