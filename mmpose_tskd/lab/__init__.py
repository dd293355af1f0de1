"""The laboratory: how the tables of results were made. Nothing outside of it imports it."""
