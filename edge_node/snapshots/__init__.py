"""Raw windows worth keeping: packed small, kept on site within bounds, uploaded when the link allows, verified by
hash.
"""
