"""One attempt: a flow is built, trained, and its draws are weighted and judged."""
