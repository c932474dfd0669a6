"""The report of a posterior."""
