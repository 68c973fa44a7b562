"""What data may be: for the trainer that reads it and the preview that looks at it."""

import re

MAX_COLUMNS = 20_000
MAX_LINE_CHARACTERS = 16 * 2**20
MAX_CATEGORIES = 1000
MAX_WORD_LENGTH = 200
LARGEST = 3.4028234663852886e38
"""Number of 32 bits."""

MAX_MEMBERS = 100_000
MAX_RATIO = 100
HARMLESS_BYTES = 64 * 2**20
"""What may come of however little: tiny pictures pack very well."""
MAX_NAME_LENGTH = 1000
MAX_READS_AT_END = 1000
"""tarfile looks for a member that is longer than its archive by reading on at the end."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
MAX_IMAGE_BYTES = 64 * 2**20
"""Of an image's file."""
IDX_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
BESIDE_IMAGES = (".txt", ".md", ".csv", ".json", ".html", ".xml", ".pdf", ".db", ".ini", "")
