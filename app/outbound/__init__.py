"""Requests that the service sends to addresses that its users name."""
