"""An attempt: its mailbox (`mailbox`), its machine (`decide`), and the controller that performs what they decide."""
