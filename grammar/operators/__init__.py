"""What a plan is made of: operators that pull rows from each other.

A row is a tuple; an operator's `layout` tells where in its rows which field stands (by `Field.key`), or which slot of a
group (by number). `rows` may be called again and then starts anew.
"""
