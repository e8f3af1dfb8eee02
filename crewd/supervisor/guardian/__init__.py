"""The hands: one process per home that owns every worker process, and outlives crewd.

Rule 1: single-threaded; it alone forks, signals and reaps. It knows nothing of runs, and never speaks to a worker.
Rule 2: it answers only with verified facts; an end that was begun is finished also when crewd dies in the middle of it.
Inside: `ladder` and `tree` decide (pure), `processes` and `zygote` touch the world, `program` is the loop.
"""
