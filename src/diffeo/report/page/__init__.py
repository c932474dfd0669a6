"""What a report consists of, and one HTML file of it."""
