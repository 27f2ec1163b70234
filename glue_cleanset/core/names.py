"""Names of frames: each its own, and few of them in a message."""

__all__ = ["distinct", "listed"]


def distinct(names):
    """The names in their order, a number behind those that were there before; also where case does not count."""
    found, taken = [], set()
    for name in names:
        unique, k = name, 1
        while unique.casefold() in taken:
            k += 1
            unique = f"{name}_{k}"
        taken.add(unique.casefold())
        found.append(unique)
    return found


def listed(names, most=5):
    """The first names, and how many more there are, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
