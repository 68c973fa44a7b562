"""Tables that no job may read: made from what can be wrong with one, and where."""

import codecs
from collections.abc import Iterator

ROWS = [f"{number},x{number % 3},{'yes' if number % 2 else 'no'}" for number in range(40)]
HEADER = "a,b,label"
NOT_UTF8 = [
    *(b"\xff", b"\xfe\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"\x80", b"\xe2\x82", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\xaf"),
]
NOT_FINITE = ["inf", "-inf", "nan", "NaN", "1e999", "-1e999", "1e39", "Infinity", "+inf", "-nan"]
PLACES = {"header": 0, "first": 1, "middle": 20, "last": 40}
ENDLESS = 17 * 2**20


def tables() -> Iterator[tuple[str, bytes]]:
    """Yield (what is wrong, content)."""
    yield from _bytes_in_places()
    yield from _cells()
    yield from _quotes()
    yield from _shapes()
    yield from _encodings()


def _table(lines: dict[int, str] | None = None) -> bytes:
    """Give a good table with some lines replaced, counted from 0."""
    all_lines = [HEADER, *ROWS]
    for number, line in (lines or {}).items():
        all_lines[number] = line
    return "\n".join(all_lines).encode() + b"\n"


def _bytes_in_places() -> Iterator[tuple[str, bytes]]:
    lines = _table().splitlines()
    for place in ("header", "last"):
        number = PLACES[place]
        for wrong in [*NOT_UTF8, b"\0"]:
            # In a cell, before what follows it: a whole line stays.
            broken = [*lines[:number], lines[number].replace(b",", wrong + b",", 1)]
            content = b"\n".join([*broken, *lines[number + 1 :], b""])
            yield f"bytes {wrong.hex()} in the {place} line", content


def _cells() -> Iterator[tuple[str, bytes]]:
    for word in NOT_FINITE:
        yield f"a number that is {word}", _table({7: f"{word},x1,yes"})
    for number in (1, 7, 40):
        yield f"a word for a number in line {number}", _table({number: "seven,x1,yes"})
        yield f"no number in line {number}", _table({number: ",x1,yes"})
        yield f"no label in line {number}", _table({number: "1,x1,"})
        yield f"a text of 201 in line {number}", _table({number: f"1,{'x' * 201},yes"})
        yield f"a text of 131,073 in line {number}", _table({number: f"1,{'x' * 131_073},yes"})
    many = "\n".join(f"{number},x{number},{number % 2}" for number in range(1001))
    yield "1,001 words in a column", f"{HEADER}\n{many}\n".encode()


def _quotes() -> Iterator[tuple[str, bytes]]:
    for place, number in PLACES.items():
        line = [HEADER, *ROWS][number]
        yield f"a quote that does not close in the {place} line", _table({number: f'"{line}'})
        yield f"text after a quote in the {place} line", _table({number: f'"a"b{line}'})
    for depth in (1, 101, 10_001, 100_001):
        yield f"{depth} quotes", _table({3: '"' * depth})
    yield "quotes over many lines", _table({3: '"' + "\n" * 200_000})


def _shapes() -> Iterator[tuple[str, bytes]]:
    for number in (1, 20, 40):
        for cells in ("1", "1,x", "1,x,yes,more", "," * 50):
            yield f"{cells.count(',') + 1} cells in line {number}", _table({number: cells})
    for header in ("a,a,label", "a,,label", ",,", " ,b,label", "label,b,label", "a,b,c,label"):
        yield f"the header {header!r}", _table({0: header})
    wide = ",".join(f"c{number}" for number in range(20_001))
    yield "20,001 columns", f"{wide},label\n".encode() + b"1," * 20_001 + b"yes\n"
    yield "10,000 columns of one name", b"x," * 10_000 + b"label\n" + b"1," * 10_000 + b"yes\n"
    yield "10,000 columns, one short", b"x" + b",y".join(b"" for _ in range(10_001)) + b",label\n"
    yield "a header alone", f"{HEADER}\n".encode()
    yield "a label alone", b"label\nyes\nno\n"
    yield "empty lines", b"\n" * 1000
    yield "spaces", b" " * 1000
    yield "a mark of byte order alone", codecs.BOM_UTF8
    yield "an endless line", b"x" * ENDLESS
    yield "an endless line after a header", f"{HEADER}\n".encode() + b"1" * ENDLESS
    yield "an endless quoted line", f'{HEADER}\n"'.encode() + b"x" * ENDLESS
    yield "endless delimiters", b"," * ENDLESS


def _encodings() -> Iterator[tuple[str, bytes]]:
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        yield f"a table in {name}", _table().decode().encode(name)
    for name in ("latin-1", "cp1252", "shift-jis", "gb18030", "koi8-r"):
        word = {"latin-1": "é", "cp1252": "é", "koi8-r": "ж"}.get(name, "中")
        yield f"a table in {name}", _table({9: f"1,{word},yes"}).decode().encode(name)
