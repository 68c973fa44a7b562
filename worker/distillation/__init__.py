"""The engine: a spec and a folder in; a student, a report and the student's files out."""
