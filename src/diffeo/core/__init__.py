"""The contract that every flow is built on, and the rules for the numbers. Import from its
modules.
"""
