"""A Parquet file's columns and number of rows, by its footer; no value is decoded.

The footer is Thrift's compact protocol: https://parquet.apache.org/docs/file-format/metadata/
"""

from typing import IO, Any

from app.preview.findings import Broken, Findings

MAGIC = b"PAR1"
MOST_FOOTER_BYTES = 16 * 2**20
MOST_VALUES = 1_000_000
MOST_DEPTH = 16
MOST_DECODED_BYTES = 4 * 2**30
TYPES = (
    *("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE"),
    *("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"),
)
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_LENGTHS = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}
"""In bytes, of values in lists."""
_LONG = 15
"""Instead of a list's length, where that comes after."""
_MORE = 128
"""The bit that says that a number goes on."""
# Fields of FileMetaData, SchemaElement, RowGroup and ColumnMetaData.
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
_TYPE, _NAME, _NUM_CHILDREN = 1, 4, 5
_GROUP_COLUMNS, _GROUP_BYTES, _GROUP_ROWS = 1, 2, 3


def look(file: IO[bytes], findings: Findings, size: int) -> None:
    """Read the footer."""
    findings.kind = "parquet"
    footer = _Thrift(_footer(file, size)).struct()
    schema, groups = _structs(footer.get(_SCHEMA)), _structs(footer.get(_ROW_GROUPS, []))
    num_rows = footer.get(_NUM_ROWS)
    if not isinstance(num_rows, int) or num_rows < 0:
        raise Broken("not_parquet", f"the footer says {num_rows!r} rows")
    columns = schema[1:]
    findings.num_rows, findings.num_columns = num_rows, len(columns)
    names: set[bytes] = set()
    for column in columns:
        _look_at(column, names, findings)
    _check_groups(groups, num_rows, len(columns), findings)


def _footer(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != MAGIC or length + 12 > size:
        raise Broken("not_parquet", "the file does not end as Parquet does; it may be cut off")
    if length > MOST_FOOTER_BYTES:
        raise Broken("too_large", f"the footer has {length} bytes; at most {MOST_FOOTER_BYTES}")
    file.seek(size - 8 - length)
    return file.read(length)


def _look_at(column: dict[int, Any], names: set[bytes], findings: Findings) -> None:
    name, kind = column.get(_NAME), column.get(_TYPE)
    if not isinstance(name, bytes) or column.get(_NUM_CHILDREN):
        findings.problem("wrong_type", "a column has columns of its own; expected plain ones")
    elif name in names:
        findings.problem("duplicate_column", f"two columns are named {_text(name)!r}")
    else:
        names.add(name)
        named = TYPES[kind] if isinstance(kind, int) and 0 <= kind < len(TYPES) else None
        findings.column(_text(name), named or "unknown")
        if named is None:
            findings.problem("wrong_type", f"column {_text(name)!r} has the type {kind!r}")


def _check_groups(
    groups: list[dict[int, Any]], num_rows: int, num_columns: int, findings: Findings
) -> None:
    counts = [_amount(group, _GROUP_ROWS) for group in groups]
    if min(counts, default=0) < 0 or sum(counts) != num_rows:
        findings.problem("not_parquet", f"{num_rows} rows, and other numbers in the row groups")
    decoded = sum(_amount(group, _GROUP_BYTES) for group in groups)
    if max(decoded, num_rows * num_columns) > MOST_DECODED_BYTES:
        message = f"{num_rows} rows of {num_columns} columns, {decoded} bytes when decoded"
        findings.problem("too_large", f"{message}; at most {MOST_DECODED_BYTES} bytes are read")
    if any(len(_structs(group.get(_GROUP_COLUMNS))) != num_columns for group in groups):
        findings.problem("not_parquet", "a row group has not as many columns as the schema")


def _amount(group: dict[int, Any], field: int) -> int:
    value = group.get(field)
    return value if isinstance(value, int) else -1


def _structs(value: object) -> list[dict[int, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Broken("not_parquet", "the footer lacks a list that it must have")
    return value


def _text(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")


class _Thrift:
    """Reads values of the compact protocol, each by its type; a struct as {field: value}."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._depth = 0
        self._num_values = 0

    def struct(self) -> dict[int, Any]:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise Broken("not_parquet", "the footer is nested too deeply")
        values: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            values[number] = kind == _TRUE if kind in {_TRUE, _FALSE} else self._value(kind)
        self._depth -= 1
        return values

    def _value(self, kind: int) -> Any:  # noqa: ANN401 (whatever it is)
        self._num_values += 1
        if self._num_values > MOST_VALUES:
            raise Broken("too_large", f"the footer has more than {MOST_VALUES} values")
        if kind in _INTEGERS:
            return self._zigzag()
        if kind in _LENGTHS or kind == _BINARY:
            return self._take(_LENGTHS.get(kind) or self._varint())
        return self.struct() if kind == _STRUCT else self._list(kind)

    def _list(self, kind: int) -> list[Any]:
        if kind not in {_LIST, _SET}:
            raise Broken("not_parquet", f"the footer has a value of the kind {kind}")
        head = self._byte()
        short = head >> 4
        length = short if short < _LONG else self._varint()
        if length > len(self._data) - self._at:
            raise Broken("not_parquet", f"the footer has a list of {length} values")
        return [self._value(head & 15) for _ in range(length)]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise Broken("not_parquet", "the footer ends too early")
        self._at += length
        return self._data[self._at - length : self._at]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & ~_MORE) << shift
            if byte < _MORE:
                return value
        raise Broken("not_parquet", "the footer has a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
