"""What data may be at most: for the trainer that reads it and the preview that looks at it."""

MAX_COLUMNS = 20_000
MAX_LINE_CHARACTERS = 16 * 2**20
MAX_CATEGORIES = 1000
MAX_WORD_LENGTH = 200

MAX_MEMBERS = 100_000
MAX_RATIO = 100
HARMLESS_BYTES = 64 * 2**20
"""What may come of however little: tiny pictures pack very well."""
MAX_NAME_LENGTH = 1000
MAX_READS_AT_END = 1000
"""tarfile looks for a member that is longer than its archive by reading on at the end."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
BESIDE_IMAGES = (".txt", ".md", ".csv", ".json", ".html", ".xml", ".pdf", ".db", ".ini", "")
