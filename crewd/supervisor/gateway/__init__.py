"""The door: two ROUTER sockets (`wire`), who waits for what (`waits`), who follows what (`feeds`), and the actor."""
