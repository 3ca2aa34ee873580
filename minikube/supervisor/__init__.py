"""The process manager (floor 3): what a manifest says is so, for as long as `up` runs, and nothing is left afterwards.

    main ─► guardian (parent, heir of every orphan)
      └──► running            the trio run; foundations (redis, registry: parts, partrun), endings (who may end it all), site
             ├── core         the services; roster (who there is), graph, order, selection, dependency
             │     └── instance      one replica's task: wish, lifecycle, failure (pure), stopping, row, view
             │           ├── wellbeing     checkup, verdict, registering; link to the registry, hearsay from it
             │           └── runtime       local: process, tree, cgroup, rights, rlimits, ports
             │                             containers: container, client, engine, recipe, images, network, relay
             └── hands        what is asked by name; rollout (rolling), apply (change), watcher (sources, ear), timetable (schedule)
    logs ─► logfile ─► trail ─► reader      output on disk, and read back
    leftovers, record, lifeline, machine    what passes between runs, and between the front and what it started

What decides takes states and a time and does nothing (`pure`); the trio shells round it do as it says. `interrupt` is how a
task waits for one thing unless another happens. It refuses to know who is discoverable: that is the registry's.
"""
