"""The hands: one process per home that owns every worker process, and outlives crewd.

Rule 1: single-threaded; it alone signals, and it and its zygote alone fork and reap. It knows nothing of runs, and never speaks
to a worker.
Rule 2: it answers only with verified facts; an end that was begun is finished also when crewd dies in the middle of it.
Inside: `ladder` and `tree` decide (pure), `processes` and `zygote` touch the world, `births` is the line to the zygote,
`program` the loop.
"""
