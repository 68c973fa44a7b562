"""One file a source or format of data; the name in the spec is the name of the file.

Each has ``read(settings, path, scratch, tell)``, which gives ``RawData``; a format also takes
``like``, what the file to learn from gave, when it reads one for validation or testing.
"""
