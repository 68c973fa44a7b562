"""One file a source or format of data; the name in the spec is the name of the file.

Each has ``read(settings, path, scratch, tell)``, which gives ``RawData``; a format also takes
``like``, what the file to learn from gave, when it reads one for validation or testing. A format
maps its inputs from ``inputs_file(scratch)``, where those of further files are put behind them.
"""
