"""Stillhouse's service: the API, its database, queue and storage, and the command line."""
