"""crewd itself: decision cores, the actors round them, the gateway, the guardian link, and the guardian program.

Rule 1: cores (`*/decide`) are pure; actors are thin shells; each port is one adapter to the world.
Rule 2: nothing leaves before its cause is durable: an effect waits in the `journal` for `Committed`.
Rule 3: only the guardian spawns, signals and reaps; crewd never does.
"""
