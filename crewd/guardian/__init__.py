"""The guardian: one process per home that owns every worker process, and outlives crewd. docs/guardian.md explains it.

Rule 1: it is single-threaded; only it sends signals, and only it and its zygote fork and reap. It knows nothing about runs, and
never talks to a worker.
Rule 2: it answers only with verified facts, and it finishes an end that was begun also when crewd dies meanwhile.
Inside: `guard` decides, with `care` for one worker, `ladder` for an end and `tree` for whose process is whose (all pure);
`processes`, `cgroups` and `marker` read and signal, `zygote` forks, `zygote_link` is the socket to it, `program` is the loop.
"""
