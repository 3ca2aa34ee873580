"""The registry's memory (pure: no clock, no I/O, no trio).

    records       the records, entries of the change log and snapshots that the registry works with
    catalog       all known instances in revision order, and the subscribers to their changes
    change_log    the latest changes, bounded in number and in bytes
    owner_usage   how much room each owner of entries takes, and may take
    listing       lists of instances as JSON, cached (for speed)
    earlier_run   find what an earlier run of the project left
    round_robin   the replies to `Discovery.Get`, cached and in turn (for speed)

The package refuses to know Redis: the stored form of a record is in `registry/redis/codec`.
"""
