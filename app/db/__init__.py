"""The tables, the only place a job changes state, and sessions."""
