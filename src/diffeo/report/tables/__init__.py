"""The report of a flow of rows."""
