"""What the text of a table's cell is."""


def number_of(text: str) -> float | None:
    """Read a number in decimal or scientific notation; none if it is not one.

    May be infinite or NaN. Not Python's `1_000`, which no table means as a number.
    """
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
